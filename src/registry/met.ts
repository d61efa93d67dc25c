import { LRUCache } from 'lru-cache'
import type { Records } from '../store/index.ts'

/** A peer that had blocks of a domain's tree. */
export interface Acquaintance {
  readonly peer: string
  /** Multiaddrs that end in the peer's id. */
  readonly addresses: readonly string[]
  /** When it last sent any (epoch ms). */
  readonly at: number
}

/**
 * Peers met before, by the domain whose tree they had: they are asked when nobody whom its records name
 * answers. They are hints, no more; what they send is verified, and the dial policy judges their addresses each
 * time.
 */
export interface Met {
  /** Those of a domain, the last one first. */
  of(domain: string): Promise<readonly Acquaintance[]>
  /** Whether a peer was noted so lately that noting it again says nothing new. */
  lately(domain: string, peer: string): boolean
  note(domain: string, peer: string, addresses: readonly string[]): Promise<void>
}

/** Peers that are kept for a domain, domains that are kept, and addresses of a peer. */
const MAX_PEERS = 8
const MAX_DOMAINS = 1000
const MAX_ADDRESSES = 8

/** How long a peer isn't noted again, in milliseconds. */
const LATELY_MS = 10 * 60_000

const PREFIX = 'met/'

/** {@link Met} in records `met/<domain>`. */
export function createMet(records: Records): Met {
  const noted = new LRUCache<string, true>({ max: 4096, ttl: LATELY_MS })

  async function of(domain: string): Promise<Acquaintance[]> {
    const bytes = await records.get(PREFIX + domain)
    return bytes === undefined ? [] : (JSON.parse(Buffer.from(bytes).toString()) as Acquaintance[])
  }

  /** Forgets the domain from which nothing was heard for the longest time. */
  async function makeRoom(): Promise<void> {
    let count = 0
    let oldest = { key: '', at: Number.POSITIVE_INFINITY }
    for await (const [key, value] of records.list(PREFIX)) {
      count++
      const [latest] = JSON.parse(Buffer.from(value).toString()) as Acquaintance[]
      const at = latest?.at ?? 0
      if (at < oldest.at) oldest = { key, at }
    }
    if (count >= MAX_DOMAINS) await records.delete(oldest.key)
  }

  return {
    of,
    lately: (domain, peer) => noted.has(`${domain} ${peer}`),
    async note(domain, peer, addresses) {
      noted.set(`${domain} ${peer}`, true)
      if (addresses.length === 0) return
      const before = await of(domain)
      if (before.length === 0) await makeRoom()
      const others = before.filter((one) => one.peer !== peer)
      const mine = { peer, addresses: addresses.slice(0, MAX_ADDRESSES), at: Date.now() }
      await records.put(PREFIX + domain, Buffer.from(JSON.stringify([mine, ...others].slice(0, MAX_PEERS))))
    }
  }
}
