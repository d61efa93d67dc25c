import type { Gateway } from './gateway.ts'
import type { HealthBook } from './health.ts'
import { type Limiter, metered } from './limits.ts'
import type { Wants } from './wants.ts'

const RAW = 0x55

/** What a block is taken for before it comes, in bytes: a leaf, and a node or directory. */
const LEAF = 1024 * 1024
const NODE = 64 * 1024

/** Ways to ask peers, with an eye on who sends something and on what may come in all. */
export interface Heard {
  wants(wants: Wants): Wants
  gateway(gateway: Gateway): Gateway
}

/**
 * Notes who sends blocks one by one or along a path (without a guess at how fast it is: a block waits in many
 * queues), and has them wait for the limit; whole files see to that themselves.
 */
export function createHeard(health: Pick<HealthBook, 'delivered'>, down: Limiter): Heard {
  return {
    wants: (wants) => ({
      ...wants,
      async ask(cid, peer, how) {
        const guess = cid.code === RAW ? LEAF : NODE
        await down.take(guess, how.signal)
        let came = 0
        try {
          const answer = await wants.ask(cid, peer, how)
          if (!answer.itself) return answer
          came = answer.bytes.length
          health.delivered(peer.toString(), 0, 1)
          return answer
        } finally {
          down.giveBack(guess - came)
        }
      }
    }),
    gateway: (gateway) => ({
      ...gateway,
      async openPath(root, names, signal) {
        const blocks = await gateway.openPath(root, names, signal)
        if (blocks !== undefined) health.delivered(gateway.source, 0, 1)
        return blocks && metered(blocks, down, signal)
      }
    })
  }
}
