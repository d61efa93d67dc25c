/** How the rooms are reached: the application, and the control socket by which commands come in. */
import { controlPath, serveControl } from './cli/control.ts'
import type { Rooms } from './gateway.ts'
import type { Admission } from './http/admission.ts'
import { createApp } from './http/app.ts'
import { peerServer } from './http/server.ts'
import type { PeerTerms } from './http/trustless.ts'
import { operationsOf } from './operations.ts'

/** Where somebody listens. */
interface Address {
  readonly host: string
  readonly port: number
}

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

/**
 * Lets commands in: by the control socket, where they reach the operations and the registry.
 *
 * @param listening where clients reach the registry over plain HTTP, if they do
 */
export async function openDoor(
  rooms: Rooms,
  stopping: AbortSignal,
  stack: AsyncDisposableStack,
  listening?: Address
): Promise<void> {
  const { config, log } = rooms
  const waits = { idleMs: config.idleTimeout, answerMs: config.pullTimeout, log }
  const server = peerServer(appOf(rooms, stopping), waits)
  const control = await serveControl(
    controlPath(config.data),
    operationsOf(rooms, listening && nearHost(listening)),
    stopping,
    server
  )
  stack.defer(async () => {
    await control.stop()
    server.close()
  })
}

/** Where clients on this machine reach a listener by an address that Docker takes plain HTTP from; nothing for others. */
function nearHost({ host, port }: Address): string | undefined {
  if (host.startsWith('127.')) return `${host}:${port}`
  return host === '0.0.0.0' || host === '::' ? `127.0.0.1:${port}` : undefined
}
