import type { Libp2p, PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { Routing } from './routing.ts'
import type { Sources } from './sources.ts'

/** Providers that are dialled at the same time, and of one search altogether. */
const DIALS = 4
const MAX_PROVIDERS = 16

/** How long others are waited for when one provider is connected, in milliseconds. */
const ENOUGH_MS = 300

/** Addresses of one peer that are worth remembering. */
const MAX_ADDRESSES = 8

/** Getting to peers: those whom the network names, and those who were met before. */
export interface Reach {
  /** As `Ipfs.find`, over a way to connect. */
  find(
    cid: CID,
    connect: (addresses: readonly string[], signal: AbortSignal) => Promise<readonly PeerId[]>,
    signal: AbortSignal
  ): Promise<PeerId[]>
  /** As `Ipfs.addressesOf`. */
  addressesOf(peer: PeerId): Promise<string[]>
}

export function createReach(options: {
  libp2p: Libp2p
  sources: Pick<Sources, 'known'>
  router: Routing
  dialMs: number
  log: Log
}): Reach {
  const { libp2p, sources, router, dialMs, log } = options

  return {
    async find(cid, connect, signal) {
      signal.throwIfAborted()
      const reached = new Map<string, PeerId>()
      const enough = new AbortController()
      const end = AbortSignal.any([signal, enough.signal])
      let timer: NodeJS.Timeout | undefined
      const providers = router.find(cid, { limit: MAX_PROVIDERS, signal: end })
      const dialOne = async () => {
        for (;;) {
          const next = await providers.next()
          if (next.done === true) return
          const { peer, addresses, by } = next.value
          try {
            const limit = AbortSignal.any([end, AbortSignal.timeout(dialMs)])
            for (const one of await connect(await named(peer, addresses), limit)) {
              reached.set(one.toString(), one)
              log.info({ cid: cid.toString(), peer: one.toString(), by }, 'found a provider')
            }
            if (reached.size > 0) timer ??= setTimeout(() => enough.abort(new Error('found')), ENOUGH_MS)
          } catch (error) {
            if (!end.aborted)
              log.info({ peer: peer.toString(), by, cause: reason(error) }, 'a provider cannot be reached')
          }
        }
      }
      try {
        await Promise.all(Array.from({ length: DIALS }, dialOne))
      } catch (error) {
        if (!enough.signal.aborted && reached.size === 0) throw error
      } finally {
        clearTimeout(timer)
        enough.abort(new Error('no longer looking'))
      }
      if (reached.size === 0) signal.throwIfAborted()
      return [...reached.values()]
    },

    async addressesOf(peer) {
      const id = `/p2p/${peer.toString()}`
      const used = libp2p
        .getConnections(peer)
        .filter(({ direction }) => direction === 'outbound')
        .map(({ remoteAddr }) => remoteAddr.toString())
      // what it says of itself; a peer that was met over HTTP alone has said nothing
      const said = await libp2p.peerStore.get(peer).catch(() => undefined)
      const all = [
        ...sources.known(peer),
        ...used,
        ...(said?.addresses ?? []).map(({ multiaddr }) => multiaddr.toString())
      ].map((text) => (text.endsWith(id) ? text : `${text}${id}`))
      return [...new Set(all)].slice(0, MAX_ADDRESSES)
    }
  }

  /** Addresses to dial; those of the peer store where the answer named none. */
  async function named(peer: PeerId, addresses: readonly string[]): Promise<readonly string[]> {
    if (addresses.length > 0) return addresses
    const { multiaddrs } = await libp2p.peerRouting.findPeer(peer, { signal: AbortSignal.timeout(dialMs) })
    return multiaddrs.map((address) => `${address}/p2p/${peer.toString()}`)
  }
}
