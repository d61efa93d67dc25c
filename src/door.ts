/** How commands come in: the control socket, and what of the registry they reach by it. */
import { challengeSettings } from './access.ts'
import type { Audit } from './auth/index.ts'
import { controlPath, serveControl } from './cli/control.ts'
import type { Operations } from './cli/index.ts'
import { createApp } from './http/app.ts'
import { peerServer } from './http/server.ts'
import type { Rooms } from './rooms.ts'
import type { Signatures } from './signatures/index.ts'

/**
 * Lets commands in: by the control socket, where they reach the operations and the registry. Who may open the data
 * folder is the operator, and nobody logs in.
 *
 * @param checks `audit`: where what the operator pushes and deletes is written down, if it is; `signatures`: what must be
 *   signed for the operator too, for whoever runs an image runs it
 */
export async function openDoor(
  { config, log, registry }: Rooms,
  operations: Operations,
  stopping: AbortSignal,
  stack: AsyncDisposableStack,
  { audit, signatures }: { audit?: Audit | undefined; signatures?: Signatures | undefined } = {}
): Promise<void> {
  const app = createApp({
    registry,
    log,
    hosts: config.hosts,
    pullTimeoutMs: config.pullTimeout,
    ...(audit && { auth: { audit, challenge: challengeSettings(config), who: 'operator' } }),
    signatures,
    stopping
  })
  const server = peerServer(app, { idleMs: config.idleTimeout, answerMs: config.pullTimeout, log })
  const control = await serveControl(controlPath(config.data), operations, stopping, server)
  stack.defer(async () => {
    await control.stop()
    server.close()
  })
}
