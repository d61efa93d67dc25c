import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import { reason } from '../oci/errors.ts'
import { type Dialler, NotDialled } from './dial.ts'
import { type Gateway, originOf } from './gateway.ts'
import { type LeavesSource, readLeaves } from './leaves.ts'
import type { DialPolicy } from './policy.ts'
import { failureOf, isTimeout, NO_TRANSPORT, ProbeFailure } from './probe-failure.ts'
import type { Sources } from './sources.ts'
import type { PeerId } from './types.ts'
import type { Wants } from './wants.ts'

/** The ways in which content travels: CARs over plain HTTP, CARs over HTTP on a libp2p stream, bitswap. */
export type ContentWay = 'http' | 'stream' | 'bitswap'

/** Single addresses and single ways, tried by themselves: for whoever wants to know which of them work. */
export interface Probe {
  /**
   * Dials an address as {@link Ipfs.connect} does, but it alone; one that ends in `/http` or `/https` is asked for
   * the empty block. What was connected stays so.
   *
   * @throws {ProbeFailure} saying why it doesn't do; the signal's reason when `signal` aborts without a time-out
   */
  address(address: string, signal: AbortSignal): Promise<void>
  /**
   * The first leaf of a file by one way alone; no leaf comes out of the own store, and nothing is kept.
   *
   * @returns how many bytes of content came; `undefined` when none of `peers` can be asked that way
   * @throws Error that says who was asked and did not send it; as {@link Ipfs.leaves} does
   */
  firstLeaf(
    file: CID,
    way: ContentWay,
    options: { peers: readonly PeerId[]; signal: AbortSignal }
  ): Promise<number | undefined>
}

/** The empty block inside its CID: whoever is a trustless gateway has it. */
const EMPTY = CID.parse('bafkqaaa')

/** Makes it for a node. */
export function createProbe(options: {
  dialler: Pick<Dialler, 'alone'>
  sources: Pick<Sources, 'gateways' | 'remember'>
  policy: DialPolicy
  files: LeavesSource
  wants: Pick<Wants, 'ask'>
  isConnected: (peer: PeerId) => boolean
  dialMs: number
}): Probe {
  const { dialler, sources, policy, files, wants, isConnected, dialMs } = options

  async function overHttp(address: string, parsed: Multiaddr, signal: AbortSignal): Promise<void> {
    const refused = await policy.refusal(parsed)
    if (refused !== undefined) throw new NotDialled(`not dialled: ${refused}`)
    sources.remember([address])
    const [gateway] = sources.gateways([], [address])
    if (gateway === undefined) throw new Error('it cannot be used')
    const chunks = await gateway.openPath(EMPTY, [], signal)
    if (chunks === undefined) throw new Error('what answers there is no trustless gateway')
    for await (const _ of chunks) {
      // read to its end, so that the connection can be used again
    }
  }

  /** From whoever is first; the blocks of the own store are not looked at. */
  async function overBitswap(cid: CID, peers: readonly PeerId[], signal: AbortSignal): Promise<Uint8Array> {
    const over = new AbortController()
    const end = AbortSignal.any([signal, over.signal])
    const ask = async (peer: PeerId): Promise<Uint8Array> => {
      try {
        return (await wants.ask(cid, peer, { signal: end, silenceMs: files.timeouts.blockMs })).bytes
      } catch (error) {
        throw new Error(`peer ${peer.toString()} ${reason(error)}`, { cause: error })
      }
    }
    try {
      return await Promise.any(peers.map(ask))
    } catch (error) {
      throw new Error((error as AggregateError).errors.map(reason).join('; '), { cause: error })
    } finally {
      over.abort(new Error('another peer was faster'))
    }
  }

  return {
    async address(address, signal) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(dialMs)])
      try {
        const parsed = parse(address)
        if (originOf(parsed) === undefined) await dialler.alone(parsed, limit)
        else await overHttp(address, parsed, limit)
      } catch (error) {
        if (signal.aborted && !isTimeout(signal.reason)) throw signal.reason
        throw failureOf(error, limit.aborted, dialMs)
      }
    },

    async firstLeaf(file, way, { peers, signal }) {
      const reachable = peers.filter(isConnected)
      const ids = new Set(reachable.map(String))
      const gateways =
        way === 'bitswap'
          ? []
          : sources
              .gateways(peers, [])
              .filter((one) => (way === 'http' ? isPlain(one) : !isPlain(one) && ids.has(one.source)))
      const spoken = way === 'stream' ? await speaking(gateways, signal) : gateways
      if (way === 'bitswap' ? reachable.length === 0 : spoken.length === 0) return undefined
      const lies: string[] = []
      const alone: LeavesSource = {
        ...files,
        has: async () => false,
        recent: () => undefined,
        failed(gateway, lie) {
          if (lie !== undefined) lies.push(`${gateway.name} ${lie}`)
          files.failed(gateway, lie)
        },
        blocks: {
          local: async () => undefined,
          keep: async () => undefined,
          fetch: async (cid, { signal: end }) => {
            if (way === 'bitswap') return { bytes: await overBitswap(cid, reachable, end), local: false }
            throw new Error(lies[0] ?? `${spoken.map(({ name }) => name).join(', ')} did not send ${cid}`)
          }
        }
      }
      for await (const leaf of readLeaves(alone, {
        file,
        from: 0,
        peers: reachable,
        gateways: spoken,
        signal
      })) {
        const bytes = leaf.data.length
        leaf.release()
        return bytes
      }
      return 0
    }
  }
}

/** Those that know HTTP over streams at all: that a peer doesn't is no failure. */
async function speaking(gateways: readonly Gateway[], signal: AbortSignal): Promise<Gateway[]> {
  const known = await Promise.all(
    gateways.map(async (gateway) => {
      try {
        for await (const _ of (await gateway.openPath(EMPTY, [], signal)) ?? []) {
          // read to its end, so that the connection can be used again
        }
        return [gateway]
      } catch (error) {
        signal.throwIfAborted()
        return error instanceof Error && NO_TRANSPORT.has(error.name) ? [] : [gateway]
      }
    })
  )
  return known.flat()
}

/** Gateways over streams are named after their peers, those over plain HTTP after their addresses. */
function isPlain({ name }: Gateway): boolean {
  return name.startsWith('/')
}

function parse(address: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (error) {
    throw new ProbeFailure('malformed', `not a multiaddr: ${reason(error)}`, { cause: error })
  }
}
