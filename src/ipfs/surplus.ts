import type { PeerId } from '@libp2p/interface'
import { LRUCache } from 'lru-cache'

/** What a peer may send over bitswap beyond the blocks that it was asked for, in bytes: blocks that were asked
 * of it once and came twice, who has what, its own wants, messages that aren't whole yet. */
const ALLOWED = 16 * 1024 * 1024

/** How fast that is forgotten, in bytes a millisecond: what a busy peer tells everybody all day long. */
const FORGOTTEN = 256

/** Tells peers that flood us from those that answer. */
export interface Surplus {
  /** So many bytes of the peer were read. */
  read(peer: PeerId, bytes: number): void
  /** So many of them were a block that it had been asked for. */
  earned(peer: PeerId, bytes: number): void
}

/** Makes the account; `flooded` is told of a peer that has sent more than is allowed. */
export function createSurplus(flooded: (peer: PeerId, what: string) => void): Surplus {
  const accounts = new LRUCache<string, { bytes: number; at: number }>({ max: 4096 })

  return {
    read(peer, bytes) {
      const id = peer.toString()
      const now = performance.now()
      const account = accounts.get(id) ?? { bytes: 0, at: now }
      account.bytes = Math.max(0, account.bytes - (now - account.at) * FORGOTTEN) + bytes
      account.at = now
      accounts.set(id, account)
      if (account.bytes <= ALLOWED) return
      accounts.delete(id)
      flooded(peer, `sent more than ${ALLOWED} bytes that nobody had asked for`)
    },

    earned(peer, bytes) {
      const account = accounts.get(peer.toString())
      if (account !== undefined) account.bytes = Math.max(0, account.bytes - bytes)
    }
  }
}
