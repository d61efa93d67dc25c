/** A TCP relay in front of a source that does what a bad network, or a bad source, does. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { reset } from '../support/reset.ts'

/** What happens to a source while one image is pulled. `after` counts the bytes that it sends. */
export type Fault =
  | { kind: 'none' }
  /** Nobody answers there. */
  | { kind: 'refuse' }
  /** Every connection is reset. */
  | { kind: 'cut'; after: number }
  /** Nothing more comes, and nothing is closed. */
  | { kind: 'stall'; after: number }
  /** One bit is turned. */
  | { kind: 'corrupt'; after: number }
  /** Bytes a second. */
  | { kind: 'slow'; rate: number }
  /** The source itself is killed; it comes back for the next pull. */
  | { kind: 'kill'; after: number }

/** A relay that listens. */
export interface FaultRelay {
  readonly port: number
  /** Begins anew with another fault; what hangs is let go. */
  set(fault: Fault): void
  stop(): Promise<void>
}

/** Starts a relay to `port` of 127.0.0.1; `kill` is called once for a fault that kills. */
export async function startFaultRelay(target: number, kill: () => void): Promise<FaultRelay> {
  const sockets = new Set<Socket>()
  let fault: Fault = { kind: 'none' }
  let passed = 0
  let struck = false
  /** Ends the waits of the fault before. */
  let changed = new AbortController()

  const drop = (): void => {
    for (const socket of sockets) reset(socket)
  }
  const server = createServer((client) => {
    if (fault.kind === 'refuse' || (fault.kind === 'cut' && struck)) return reset(client)
    const source = connect(target, '127.0.0.1')
    for (const socket of [client, source]) {
      sockets.add(socket)
      socket.on('error', () => {}) // either side may be killed
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        source.destroy()
      })
    }
    client.pipe(source)
    void pass(source, client).catch(() => client.destroy())
    return undefined
  })

  async function pass(source: Socket, client: Socket): Promise<void> {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      const before = passed
      passed += chunk.length
      if ('after' in fault && passed > fault.after) {
        if (fault.kind === 'stall') await once(changed.signal)
        else if (!struck && fault.kind === 'corrupt') {
          const at = Math.max(0, Math.min(chunk.length - 1, fault.after - before))
          chunk[at] = (chunk[at] ?? 0) ^ 16
          struck = true
        } else if (!struck && fault.kind !== 'corrupt') {
          struck = true
          if (fault.kind === 'kill') kill()
          return drop()
        }
      }
      if (fault.kind === 'slow')
        await sleep((chunk.length / fault.rate) * 1000, undefined, { signal: changed.signal }).catch(() => {})
      if (!client.write(chunk))
        await new Promise((resolve) => client.once('drain', resolve).once('close', resolve))
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    set(next) {
      fault = next
      passed = 0
      struck = false
      changed.abort()
      changed = new AbortController()
      if (next.kind === 'refuse') drop()
    },
    async stop() {
      changed.abort()
      drop()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}

function once(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
