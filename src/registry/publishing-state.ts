import { CID } from 'multiformats/cid'
import type { Records } from '../store/index.ts'

/** What is kept of a domain's publishing. */
export interface PublishState {
  /** The root that this gateway published last, by itself or as a command. */
  readonly published?: {
    readonly root: string
    readonly at: string
    readonly via: string
    /** The gateway's own multiaddrs at that time; not there where an older version published. */
    readonly addresses?: readonly string[]
  }
  /**
   * The newest root known to have been published and to be part of this tree's past: what was made here since,
   * and what others published since, both descend from it.
   */
  readonly common?: string
}

/** Keeps {@link PublishState} in records `publish/<domain>`. */
export interface PublishStates {
  get(domain: string): Promise<PublishState>
  published(domain: string, root: CID, via: string, addresses: readonly string[]): Promise<void>
  /** A published root was seen that this tree descends from. */
  common(domain: string, root: CID): Promise<void>
  commonOf(domain: string): Promise<CID | undefined>
  /** The addresses that the gateway announced when it last ran: a command that works alone has none of its own. */
  addresses(): Promise<readonly string[]>
  setAddresses(addresses: readonly string[]): Promise<void>
}

const ADDRESSES = 'publish-addresses'

/** Opens them. A record that can't be read counts as missing: it only says what can be found out again. */
export function createPublishStates(records: Pick<Records, 'get' | 'put'>): PublishStates {
  const key = (domain: string): string => `publish/${domain}`

  async function read<T>(name: string, otherwise: T): Promise<T> {
    const bytes = await records.get(name)
    if (bytes === undefined) return otherwise
    try {
      return JSON.parse(Buffer.from(bytes).toString()) as T
    } catch {
      return otherwise // as told above
    }
  }

  const write = (name: string, value: unknown): Promise<void> =>
    records.put(name, Buffer.from(JSON.stringify(value)))
  const get = (domain: string): Promise<PublishState> => read<PublishState>(key(domain), {})

  return {
    get,
    async published(domain, root, via, addresses) {
      const published = { root: root.toString(), at: new Date().toISOString(), via, addresses }
      await write(key(domain), { ...(await get(domain)), published, common: root.toString() })
    },
    async common(domain, root) {
      const state = await get(domain)
      if (state.common !== root.toString()) await write(key(domain), { ...state, common: root.toString() })
    },
    async commonOf(domain) {
      const { common } = await get(domain)
      return common === undefined ? undefined : CID.parse(common)
    },
    addresses: () => read<readonly string[]>(ADDRESSES, []),
    async setAddresses(addresses) {
      if (JSON.stringify(await read(ADDRESSES, [])) !== JSON.stringify(addresses))
        await write(ADDRESSES, addresses)
    }
  }
}
