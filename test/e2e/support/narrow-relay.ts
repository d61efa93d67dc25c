/** A TCP relay in front of a peer that can be cut, and lets a byte a second through after so many bytes. */
import { type AddressInfo, connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A relay that listens on a port of 127.0.0.1. */
export interface NarrowRelay {
  readonly port: number
  /** Ends every connection, and takes no more. */
  cut(): void
}

/** Starts it in front of port `target` of 127.0.0.1. */
export async function startNarrowRelay(target: number, after: number): Promise<NarrowRelay> {
  const cuts = new Set<() => void>()
  const server = createServer((client) => {
    const peer = connect(target, '127.0.0.1')
    const cut = (): void => {
      client.destroy()
      peer.destroy()
    }
    cuts.add(cut)
    for (const socket of [client, peer]) {
      socket.on('error', () => {}) // whoever gives up on it may reset
      socket.on('close', cut)
    }
    client.pipe(peer)
    void pass(peer, client).catch(cut)
  })
  async function pass(from: AsyncIterable<Buffer>, to: NodeJS.WritableStream): Promise<void> {
    let passed = 0
    for await (const chunk of from) {
      for (let at = 0; at < chunk.length; ) {
        const part = passed < after ? chunk.subarray(at) : chunk.subarray(at, at + 1)
        if (passed >= after) await sleep(1000)
        at += part.length
        passed += part.length
        if (!to.write(part)) await new Promise((resolve) => to.once('drain', resolve).once('close', resolve))
      }
    }
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      server.close()
      for (const each of cuts) each()
    }
  }
}
