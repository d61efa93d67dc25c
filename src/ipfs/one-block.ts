import type { CID } from 'multiformats/cid'
import type { Blocks, Fetched } from './blocks.ts'
import type { Gateway } from './gateway.ts'
import type { Paths } from './path.ts'
import type { PeerId } from './types.ts'

/**
 * Makes what fetches one block: over bitswap, and from those who can't be asked that way, because they publish
 * nothing but an HTTP address: before the others where nobody is connected, else after them.
 *
 * @param options.recent a block that came a moment ago and isn't kept
 */
export function createOneBlock(options: {
  blocks: Blocks
  paths: Paths
  gateways: (peers: readonly PeerId[]) => readonly Gateway[]
  recent: (cid: CID) => Fetched | undefined
  isConnected: (peer: PeerId) => boolean
}): (cid: CID, peers: readonly PeerId[], signal: AbortSignal) => Promise<Fetched> {
  const { blocks, paths, gateways, recent, isConnected } = options

  async function overHttp(
    cid: CID,
    peers: readonly PeerId[],
    signal: AbortSignal
  ): Promise<Fetched | undefined> {
    const came = await paths.fetch(cid, [], { gateways: gateways(peers), signal, anyway: true })
    if (came === 0) return undefined
    const bytes = await blocks.local(cid, signal)
    return recent(cid) ?? (bytes && { bytes, local: true })
  }

  return async (cid, peers, signal) => {
    const connected = peers.some(isConnected)
    const early = peers.length > 0 && !connected ? await overHttp(cid, peers, signal) : undefined
    if (early !== undefined) return early
    try {
      return await blocks.fetch(cid, { peers, signal })
    } catch (error) {
      signal.throwIfAborted()
      const late = connected ? await overHttp(cid, peers, signal) : undefined
      if (late === undefined) throw error
      return late
    }
  }
}
