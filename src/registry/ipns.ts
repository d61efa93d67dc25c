import {
  createIpnsKeys,
  type DomainKey,
  type IpnsBook,
  type IpnsName,
  type IpnsResolver,
  MAX_PROVIDERS,
  makeRecord,
  nameOfKey,
  parseContentPath,
  parseIpnsName
} from '../discovery/index.ts'
import type { Ipfs } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { namingSame, sameAddresses } from './addresses.ts'
import type { PublishByIpns } from './publishing-types.ts'

/** How often it is looked whether a record has to be signed or given away again, in milliseconds. */
const LOOK_EVERY_MS = 10 * 60_000

/** A DHT's peers drop a record after 48 hours, and some are gone before: it is given to them again this often. */
const GIVE_EVERY_MS = 4 * 3_600_000

/** A key as commands show it. */
export interface KeyInfo {
  readonly domain: string
  /** `k51…` */
  readonly name: string
  readonly retired: boolean
}

/** The names of this gateway's domains. */
export interface Ipns extends PublishByIpns {
  keys(): Promise<KeyInfo[]>
  createKey(domain: string): Promise<KeyInfo>
  /** The key itself, in base64. */
  exportKey(domain: string, format: 'libp2p' | 'pem'): Promise<{ key: string }>
  importKey(domain: string, base64: string): Promise<KeyInfo>
  /** A new key and name; the old name leads to the new one, for as long as its records are published here. */
  rotateKey(domain: string, signal: AbortSignal): Promise<{ old: KeyInfo; now: KeyInfo }>
  /** The record of any name that is known here. */
  record(name: string): Promise<{ bytes: Uint8Array; validUntil: number; ttlMs: number } | undefined>
  /** Takes a record that somebody gives; the newest counts. @throws {RegistryError} REQUEST_INVALID, DENIED for an older one */
  take(name: string, bytes: Uint8Array): Promise<void>
  /** Begins to sign and give records again in time. */
  start(): void
  stop(): Promise<void>
}

/**
 * @param options.folder of the keys
 * @param options.addresses the gateway's own, as they are now
 * @param options.lifetimeMs how long a signed record holds; it is signed again when half of that has passed
 */
export function createIpns(options: {
  folder: string
  ipfs: Pick<Ipfs, 'routing'>
  book: IpnsBook
  resolver: Pick<IpnsResolver, 'resolve'>
  addresses: () => Promise<readonly string[]>
  lifetimeMs: number
  putTimeoutMs: number
  log: Log
  now?: () => number
}): Ipns {
  const { ipfs, book, resolver, lifetimeMs, log, now = Date.now } = options
  const keys = createIpnsKeys(options.folder)
  const given = new Map<string, number>()
  const stopping = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()

  const info = ({ domain, key, retired }: DomainKey): KeyInfo => ({
    domain,
    name: nameOfKey(key).text,
    retired
  })
  const keyOf = async (domain: string): Promise<DomainKey> =>
    (await keys.get(domain)) ?? (await keys.create(domain))

  /** Signs; the same content keeps its sequence, as it is no other version. */
  async function sign(
    { key }: DomainKey,
    value: string,
    providers: readonly string[],
    ttlMs: number
  ): Promise<Uint8Array> {
    const name = nameOfKey(key)
    const known = await book.get(name)
    const same = known?.value === value && known.providers.join() === providers.join()
    const last = await book.sequence(name)
    const sequence = same && known !== undefined ? known.sequence : (last ?? -1n) + 1n
    const bytes = await makeRecord(key, { value, sequence, lifetimeMs, ttlMs, providers, now: now() })
    return (await book.offer(name, bytes)).bytes
  }

  /** Gives a record to the network; what isn't taken is no failure, for it is served here too. */
  async function give(name: IpnsName, bytes: Uint8Array, signal: AbortSignal): Promise<string[]> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(options.putTimeoutMs)])
    const results = await ipfs.routing.putRecord(name.cid, bytes, limit)
    const problems = results.flatMap(({ by, problem }) =>
      problem === undefined ? [] : [`${by} did not take the IPNS record: ${problem}`]
    )
    const taken = problems.length === 0 || problems.length < results.length
    if (taken) given.set(name.text, now())
    for (const problem of problems) log[taken ? 'info' : 'warn']({ name: name.text }, problem)
    // whom some of them tell, all can ask
    return taken ? [] : problems
  }

  /** The peers to name from now on: where this gateway is among them, at the addresses that it has now. */
  async function providersOf({ retired }: DomainKey, known: readonly string[]): Promise<readonly string[]> {
    const own = (await options.addresses()).slice(0, MAX_PROVIDERS)
    const named = namingSame(known, own)
    if (retired || named.length === 0 || sameAddresses(named, own)) return known
    const others = known.filter((address) => !named.includes(address))
    return [...own, ...others].slice(0, MAX_PROVIDERS)
  }

  /** Signs again what is half way to its end or names addresses of the past, and gives away again what is due. */
  async function renew(): Promise<void> {
    for (const key of await keys.list()) {
      const name = nameOfKey(key.key)
      // one that ran out while this gateway was off is signed again too: the key is the word that counts
      let known = await book.last(name)
      if (known === undefined) continue
      let providers = await providersOf(key, known.providers)
      if (providers !== known.providers) {
        // it gets a new number: what others published by this key since must not be hidden by it
        const how = { hints: known.providers, fresh: true, signal: stopping.signal }
        await resolver.resolve(name.text, how).catch((error: unknown) => {
          stopping.signal.throwIfAborted()
          log.debug({ name: name.text, cause: reason(error) }, 'nobody knows a newer IPNS record')
        })
        known = (await book.last(name)) ?? known
        providers = await providersOf(key, known.providers)
      }
      const due = providers !== known.providers || known.validUntil - now() < lifetimeMs / 2
      const bytes = due ? await sign(key, known.value, providers, known.ttlMs) : known.bytes
      if (due || now() - (given.get(name.text) ?? 0) >= GIVE_EVERY_MS)
        await give(name, bytes, stopping.signal)
    }
  }

  function look(): void {
    running = renew().catch((error: unknown) => {
      if (!stopping.signal.aborted) log.error({ cause: reason(error) }, 'could not renew IPNS records')
    })
  }

  function parse(text: string): IpnsName {
    const name = parseIpnsName(text)
    if (name === undefined)
      throw new RegistryError('REQUEST_INVALID', `'${text.slice(0, 80)}' is not an IPNS name`)
    return name
  }

  return {
    name: async (domain) => nameOfKey((await keyOf(domain)).key).text,

    async publish(domain, root, addresses, { ttlMs, signal }) {
      const key = await keyOf(domain)
      const bytes = await sign(key, `/ipfs/${root}`, addresses, ttlMs)
      return { notes: await give(nameOfKey(key.key), bytes, signal) }
    },

    async current(text, hints, signal) {
      let at = text
      for (let hop = 0; hop < 4; hop++) {
        const own = parse(at)
        const found = await resolver
          .resolve(at, { hints, fresh: true, signal })
          .catch(async (error: unknown) => {
            // nobody has a record of it yet: what was never published has no root
            if (signal.aborted || (await book.sequence(own)) !== undefined) throw error
            return undefined
          })
        if (found === undefined) return undefined
        const link = parseContentPath(found.path)
        if (link.kind === 'ipfs') return link.path === '' ? link.root : undefined
        if (link.kind === 'domain')
          throw new RegistryError('SOURCE_FAILED', `the IPNS name ${at} leads to ${found.path}`)
        at = link.name
      }
      throw new RegistryError('SOURCE_FAILED', `the IPNS name ${text} leads from name to name`)
    },

    async keys() {
      return (await keys.list()).map(info)
    },
    createKey: async (domain) => info(await keys.create(domain)),
    async exportKey(domain, format) {
      return { key: Buffer.from(await keys.export(domain, format)).toString('base64') }
    },
    importKey: async (domain, base64) => info(await keys.import(domain, Buffer.from(base64, 'base64'))),

    async rotateKey(domain, signal) {
      const { old, now: fresh } = await keys.rotate(domain)
      const before = await book.get(nameOfKey(old.key))
      if (before !== undefined) {
        await give(
          nameOfKey(fresh.key),
          await sign(fresh, before.value, before.providers, before.ttlMs),
          signal
        )
        const forward = await sign(old, `/ipns/${nameOfKey(fresh.key).text}`, before.providers, before.ttlMs)
        await give(nameOfKey(old.key), forward, signal)
      }
      return { old: info(old), now: info(fresh) }
    },

    async record(text) {
      const name = parseIpnsName(text)
      return name && (await book.get(name))
    },

    async take(text, bytes) {
      const name = parse(text)
      try {
        await book.offer(name, bytes, true)
      } catch (error) {
        const older = error instanceof Error && error.name === 'OlderRecord'
        throw new RegistryError(
          older ? 'DENIED' : 'REQUEST_INVALID',
          `the record of ${name.text} is not taken: ${reason(error)}`,
          { cause: error }
        )
      }
    },

    start() {
      timer = setInterval(look, Math.min(LOOK_EVERY_MS, Math.max(1000, lifetimeMs / 8)))
      timer.unref()
      look()
    },

    async stop() {
      clearInterval(timer)
      stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is stopping'))
      await running
    }
  }
}
