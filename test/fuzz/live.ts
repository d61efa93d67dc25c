/** What a gateway keeps alive, as its own inspector tells: what is resident also holds what was left for later. */

import { waitFor } from '../e2e/support/daemon.ts'
import type { SeawayGateway } from '../e2e/support/gateway.ts'

/** The settings of a process whose inspector can be opened: on any port of the loopback. */
export const INSPECTABLE = { NODE_OPTIONS: '--inspect-port=127.0.0.1:0' }

/** A view into a process. */
export interface Inspected {
  /** Bytes that are in use after a full collection, in V8's heap and in buffers outside of it. */
  live(): Promise<number>
  /** The value of an expression there. */
  evaluate<T>(expression: string): Promise<T>
  close(): void
}

/** Opens the inspector of a gateway that was started with {@link INSPECTABLE}. */
export async function inspectGateway(gateway: SeawayGateway): Promise<Inspected> {
  // Node opens its inspector at this signal, and says where.
  process.kill(gateway.daemon.pid, 'SIGUSR1')
  let url: string | undefined
  await waitFor('the inspector to open', async () => {
    url = (await gateway.lines())
      .map((line) => /^Debugger listening on (ws:\S+)$/.exec(line)?.[1])
      .find(Boolean)
    return url !== undefined
  })
  const socket = new WebSocket(url as string)
  const waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>()
  let next = 1
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error(`nobody answers at ${url}`)))
  })
  socket.addEventListener('message', ({ data }) => {
    const { id, result, error } = JSON.parse(String(data))
    const one = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) one?.resolve(result as never)
    else one?.reject(new Error(JSON.stringify(error)))
  })
  socket.addEventListener('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the inspector went away'))
  })
  const call = <T>(method: string, params: object = {}): Promise<T> =>
    new Promise((resolve, reject) => {
      const id = next++
      waiting.set(id, { resolve, reject })
      socket.send(JSON.stringify({ id, method, params }))
    })
  const evaluate = async <T>(expression: string): Promise<T> => {
    type Answer = { result: { value: T } }
    return (await call<Answer>('Runtime.evaluate', { expression, returnByValue: true })).result.value
  }
  return {
    evaluate,
    async live() {
      await call('HeapProfiler.collectGarbage')
      const { heapUsed, external } = await evaluate<{ heapUsed: number; external: number }>(
        'process.memoryUsage()'
      )
      return heapUsed + external
    },
    close: () => socket.close()
  }
}
