import type { CID } from 'multiformats/cid'
import { RegistryError } from '../oci/errors.ts'
import type { Blocks, Fetched } from './blocks.ts'
import type { Gateway } from './gateway.ts'
import type { Paths } from './path.ts'
import type { PeerId } from './types.ts'

/**
 * Makes what gets one block: out of the store, over bitswap, and from those who can't be asked that way, because they
 * publish nothing but an HTTP address: before the others where nobody is connected, else after them.
 *
 * @param options.recent a block that came a moment ago and isn't kept
 */
export function createOneBlock(options: {
  blocks: Blocks
  paths: Paths
  gateways: (peers: readonly PeerId[]) => readonly Gateway[]
  /** HTTP addresses of theirs that the dial policy forbids, in words. */
  refusals: (peers: readonly PeerId[]) => readonly string[]
  recent: (cid: CID) => Fetched | undefined
  isConnected: (peer: PeerId) => boolean
}): (cid: CID, peers: readonly PeerId[], signal: AbortSignal) => Promise<Fetched> {
  const { blocks, paths, gateways, refusals, recent, isConnected } = options

  async function overHttp(
    cid: CID,
    peers: readonly PeerId[],
    signal: AbortSignal,
    failed: (gateway: Gateway, why: string) => void
  ): Promise<Fetched | undefined> {
    const came = await paths.fetch(cid, [], { gateways: gateways(peers), signal, anyway: true, failed })
    if (came === 0) return undefined
    const bytes = await blocks.local(cid, signal)
    return recent(cid) ?? (bytes && { bytes, local: true })
  }

  return async (cid, peers, signal) => {
    const here = await blocks.local(cid, signal)
    if (here !== undefined) return { bytes: here, local: true }
    const connected = peers.some(isConnected)
    const said: string[] = []
    const failed = ({ name }: Gateway, why: string): void => void said.push(`${name} ${why}`)
    const early = peers.length > 0 && !connected ? await overHttp(cid, peers, signal, failed) : undefined
    if (early !== undefined) return early
    try {
      return await blocks.fetch(cid, { peers, signal })
    } catch (error) {
      signal.throwIfAborted()
      const late = connected ? await overHttp(cid, peers, signal, failed) : undefined
      if (late !== undefined) return late
      said.push(...refusals(peers))
      if (!(error instanceof RegistryError) || said.length === 0) throw error
      // of peers that have nothing but an HTTP address, bitswap knows only that it can't reach them
      const all = connected ? `${error.message}; ${said.join('; ')}` : `block ${cid}: ${said.join('; ')}`
      throw new RegistryError(error.code, all, { cause: error })
    }
  }
}
