/** How the rooms are reached: the application, and the control socket by which commands come in. */
import { controlPath, serveControl } from './cli/control.ts'
import type { Rooms } from './gateway.ts'
import type { Admission } from './http/admission.ts'
import { createApp } from './http/app.ts'
import { peerServer } from './http/server.ts'
import type { PeerTerms } from './http/trustless.ts'
import { operationsOf } from './operations.ts'

/** The application over the rooms; peers are served on `terms`, and clients are let in as `admission` says: all, unless given. */
export function appOf(
  { config, log, registry }: Rooms,
  stopping: AbortSignal,
  limits: { readonly terms?: PeerTerms; readonly admission?: Admission } = {}
): ReturnType<typeof createApp> {
  return createApp({
    registry,
    log,
    hosts: config.hosts,
    pullTimeoutMs: config.pullTimeout,
    ...limits,
    stopping
  })
}

/** Lets commands in: by the control socket, where they reach the operations and the registry. */
export async function openDoor(
  rooms: Rooms,
  stopping: AbortSignal,
  stack: AsyncDisposableStack
): Promise<void> {
  const { config, log } = rooms
  const waits = { idleMs: config.idleTimeout, answerMs: config.pullTimeout, log }
  const server = peerServer(appOf(rooms, stopping), waits)
  const control = await serveControl(controlPath(config.data), operationsOf(rooms), stopping, server)
  stack.defer(async () => {
    await control.stop()
    server.close()
  })
}
