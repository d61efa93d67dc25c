import { LRUCache } from 'lru-cache'
import { CID } from 'multiformats/cid'
import type { Discovery, Published } from '../discovery/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, looksLikeDomain, type RepositoryName } from '../oci/reference.ts'
import {
  type Ahead,
  type Directories,
  type LoadBlock,
  openTree,
  type TreeView,
  type TreeWriter
} from '../tree/index.ts'
import type { Holders, PeersOf, Whereabouts } from './holders.ts'
import { createQuietly } from './quiet.ts'
import { timed } from './timings.ts'

/** A tree in which a repository is looked for, with where its blocks come from. */
export interface Place {
  readonly kind: 'local' | 'published' | 'root'
  /** For messages and the log: which tree this is. */
  readonly what: string
  readonly view: TreeView
  /** The repository's name in this tree; `undefined` when the tree hasn't got it. */
  readonly name: string | undefined
  /** Peers that are said to have the tree. */
  readonly peers: PeersOf
  /** Its blocks, out of the store or from those. */
  readonly load: LoadBlock
}

/** Turns names into trees. */
export interface Places {
  /**
   * The trees in which `name` is looked for, in order: the domain's local tree; the root published for
   * it. The next one is only worked out (DNS, dialling) when the caller asks for it. `wants` says what will
   * be looked up there, so that it can be fetched together with what tells whether the repository is there.
   *
   * @throws {RegistryError} NAME_UNKNOWN, SOURCE_FAILED or SOURCE_TIMEOUT from where the last one is sought
   */
  of(name: RepositoryName, signal: AbortSignal, wants?: Ahead): AsyncGenerator<Place>
  /** The local tree's place, if the domain has a local tree. */
  local(domain: string, repository: string, signal: AbortSignal): Promise<Place | undefined>
  /**
   * The tree published for the domain, unless it is one of ours; `undefined` also when it can't be asked:
   * for writers, who must not fail because somebody else does.
   */
  beyond(domain: string, repository: string, signal: AbortSignal): Promise<Place | undefined>
  /** The root of the tree that a domain publishes, and the multiaddrs of its peers; `undefined` when no record names one. */
  published(domain: string, signal: AbortSignal): Promise<Pick<Published, 'root' | 'providers'> | undefined>
  /** Blocks of a domain's tree: out of the store, else from the peers that its records name. */
  loader(domain: string): LoadBlock
}

export function createPlaces(options: {
  holders: Holders
  discovery: Discovery
  directories: Directories
  writer: () => Pick<TreeWriter, 'view' | 'had'>
  /** Called with the root of each tree of somebody else that is looked into. */
  onRemote?: (root: CID) => void
  /** Which trees a name of a domain is looked for in, and whether elsewhere after them; in both, and nowhere, unless given. */
  looks?: (domain: string) => {
    readonly local: boolean
    readonly published: boolean
    readonly elsewhere: boolean
  }
  /** Multiaddrs of peers that are asked for roots named by CID. */
  peers: readonly string[]
  log: Log
}): Places {
  const { holders, discovery, directories, log } = options
  const names = new LRUCache<string, string>({ max: 10_000 })
  const quietly = createQuietly()

  async function lookup(domain: string, signal: AbortSignal): Promise<Published | undefined> {
    if (!looksLikeDomain(domain) || options.looks?.(domain).published === false) return undefined
    return timed(signal, 'resolve', () => discovery.resolve(domain, { signal }))
  }

  /** Where the tree is that a domain publishes. */
  async function whereabouts(domain: string, signal: AbortSignal): Promise<Whereabouts> {
    const found = await lookup(domain, signal)
    return { domain, providers: found?.providers ?? [], ...(found && { root: found.root }) }
  }

  /** Peers for a tree, and its blocks from them. */
  function from(where: (signal: AbortSignal) => Promise<Whereabouts>) {
    const peers = holders.of(where)
    return { peers, load: holders.loader(peers, where) }
  }

  const fromDomain = (domain: string) => from((signal) => whereabouts(domain, signal))

  /** The tree's own name for a repository: with its domain in front, as Seaway writes it, or without. */
  async function nameIn(
    view: TreeView,
    candidates: () => Promise<string[]>,
    asked: string,
    signal: AbortSignal,
    wants?: Ahead
  ): Promise<string | undefined> {
    const key = `${view.root} ${asked}`
    const known = names.get(key)
    if (known !== undefined) {
      if (wants !== undefined) await view.ahead(known, wants, signal)
      return known
    }
    const found = await candidates()
    if (wants !== undefined) await Promise.all(found.map((candidate) => view.ahead(candidate, wants, signal)))
    for (const candidate of found) {
      if (await view.hasRepository(candidate, signal)) {
        names.set(key, candidate)
        return candidate
      }
    }
    return undefined
  }

  /** The root of the registry tree that records point at, where they point below their root. */
  async function rootOf(domain: string, found: Published, signal: AbortSignal): Promise<CID> {
    if (found.path === '') return found.root
    const { load } = from(async () => ({ root: found.root, providers: found.providers }))
    const below = await directories
      .resolve({ cid: found.root, size: 0 }, found.path.split('/'), load, signal)
      .catch((error: unknown) => blameRecords(domain, found, error))
    if (below === undefined) {
      throw new RegistryError(
        'NAME_UNKNOWN',
        `the dnslink of ${domain} points at /ipfs/${found.root}/${found.path}, which does not exist`
      )
    }
    return below.cid
  }

  async function publishedPlace(
    domain: string,
    repository: string,
    signal: AbortSignal,
    wants?: Ahead
  ): Promise<Place | undefined> {
    const found = await lookup(domain, signal)
    if (found === undefined) return undefined
    const root = await rootOf(domain, found, signal)
    if (await options.writer().had(domain, root)) return undefined
    options.onRemote?.(root)
    const { peers, load } = from(async () => ({ domain, root, providers: found.providers }))
    const view = openTree({ cid: root, size: 0 }, directories, load)
    const candidates = async () => namesOf(domain, repository)
    return {
      kind: 'published',
      what: `the tree ${root} that ${domain} publishes`,
      view,
      peers,
      load,
      name: await nameIn(view, candidates, repository, signal, wants).catch((error: unknown) =>
        blameRecords(domain, found, error)
      )
    }
  }

  async function local(domain: string, repository: string, signal: AbortSignal): Promise<Place | undefined> {
    const view = await options.writer().view(domain)
    if (view === undefined) return undefined
    const { peers, load } = fromDomain(domain)
    const candidates = async () => namesOf(domain, repository)
    return {
      kind: 'local',
      what: `the local tree of ${domain}`,
      view,
      peers,
      load,
      name: await nameIn(view, candidates, repository, signal)
    }
  }

  /** A root named in the request: whoever is connected may have its blocks. */
  async function rootPlace(
    root: CID,
    repository: string,
    what: string,
    signal: AbortSignal,
    wants?: Ahead,
    named: readonly string[] = []
  ): Promise<Place> {
    options.onRemote?.(root)
    const where = async () => ({ root, providers: [...named, ...options.peers] })
    const sought = holders.of(where)
    // that the operator's own peers can't be reached is no reason to stop: whoever is connected may have it
    const peers: PeersOf = (s, cid) =>
      sought(s, cid).catch((error: unknown) => {
        s.throwIfAborted()
        log.info({ cause: reason(error) }, 'none of the standing peers can be reached')
        return []
      })
    const load = holders.loader(peers, where)
    const view = openTree({ cid: root, size: 0 }, directories, load)
    const candidates = async () => {
      const found = [repository]
      for (const folder of await view.topFolders(signal)) {
        if (looksLikeDomain(folder) || folder === DEFAULT_DOMAIN) found.push(`${folder}/${repository}`)
      }
      return found
    }
    const name = await nameIn(view, candidates, repository, signal, wants).catch((error: unknown) => {
      // Nobody promised to have this root, so that nobody has it is an answer.
      if (!(error instanceof RegistryError) || error.code !== 'SOURCE_FAILED') throw error
      throw new RegistryError(
        'NAME_UNKNOWN',
        `nobody whom this gateway knows has ${root} (${error.message}); name peers that do in SEAWAY_PEERS`,
        { cause: error }
      )
    })
    return { kind: 'root', what, view, peers, load, name }
  }

  return {
    local,
    beyond: (domain, repository, signal) =>
      publishedPlace(domain, repository, signal).catch((error: unknown) => {
        if (!(error instanceof RegistryError)) throw error
        log.debug({ domain, cause: reason(error) }, 'nothing published that can be read')
        return undefined
      }),
    async published(domain, signal) {
      try {
        const found = await lookup(domain, signal)
        return found && { root: await rootOf(domain, found, signal), providers: found.providers }
      } catch (error) {
        if (error instanceof RegistryError && error.code === 'NAME_UNKNOWN') return undefined
        throw error
      }
    },
    loader: (domain) => fromDomain(domain).load,
    async *of(name, signal, wants) {
      const { place, repository } = name
      if (place.kind === 'ipfs') {
        yield rootPlace(parseRoot(place.cid, name), repository, `the tree ${place.cid}`, signal, wants)
        return
      }
      if (place.kind === 'ipns') {
        const found = await timed(signal, 'resolve', () =>
          looksLikeDomain(place.name)
            ? discovery.resolve(place.name, { signal })
            : discovery.resolveKey(place.name, { hints: options.peers, signal })
        )
        const root = await rootOf(`/ipns/${place.name}`, found, signal)
        const what = `the tree ${root} of /ipns/${place.name}`
        yield rootPlace(root, repository, what, signal, wants, found.providers)
        return
      }
      const looks = options.looks?.(place.domain)
      const own = looks?.local === false ? undefined : await local(place.domain, repository, signal)
      if (own !== undefined) yield own
      const look = () => publishedPlace(place.domain, repository, signal, wants)
      const looking = looks?.elsewhere === true ? quietly(place.domain, look) : look()
      const found = await looking.catch((error: unknown) => {
        // With a local tree, a domain that publishes nothing, or isn't to be asked, is the ordinary case.
        const nothing = error instanceof RegistryError && ['NAME_UNKNOWN', 'DENIED'].includes(error.code)
        if (own !== undefined && nothing) {
          log.debug({ domain: place.domain, cause: reason(error) }, 'nothing published')
          return undefined
        }
        throw error
      })
      if (found !== undefined) yield found
    }
  }
}

/**
 * What the tree of a domain may call one of its repositories: with the domain in front, or without. A repository whose
 * own name begins with the domain is never without, for that is what another one is called (`app` of `example.com` is
 * `example.com/app`).
 */
function namesOf(domain: string, repository: string): string[] {
  const full = `${domain}/${repository}`
  return repository.startsWith(`${domain}/`) ? [full] : [full, repository]
}

/** A source failed: if the domain's records name none, or were not understood, that is why. */
function blameRecords(domain: string, found: Published, error: unknown): never {
  if (!(error instanceof RegistryError) || !error.code.startsWith('SOURCE_')) throw error
  const why = [...found.problems]
  if (found.providers.length === 0) why.push(`${domain} has no usable ipfsnode= record that says who has it`)
  if (why.length === 0) throw error
  throw new RegistryError(error.code, `${error.message}; ${why.join('; ')}`, { cause: error })
}

function parseRoot(text: string, name: RepositoryName): CID {
  try {
    return CID.parse(text).toV1()
  } catch (error) {
    throw new RegistryError('NAME_INVALID', `'${text}' in '${name.asked}' is not a CID`, { cause: error })
  }
}
