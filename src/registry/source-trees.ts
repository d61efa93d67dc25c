import { buffer } from 'node:stream/consumers'
import type { Discovery } from '../discovery/index.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { DEFAULT_DOMAIN, looksLikeDomain, parseRepository, type RepositoryName } from '../oci/reference.ts'
import type { Store } from '../store/index.ts'
import type { History } from './history.ts'
import { type ImageRepository, type ImageSource, MAX_CONFIG, type Provider } from './image-source.ts'
import type { Lists } from './lists.ts'
import type { Place, Places } from './places.ts'
import type { ManifestContent, Pull } from './pull.ts'
import { type SourceName, sourceText } from './source-name.ts'

/** How many names are read at a time. */
const NAMES = 1000

/** What trees are looked at with. */
export interface TreeSourcesOptions {
  readonly store: Pick<Store, 'peek'>
  readonly discovery: Pick<Discovery, 'resolve' | 'resolveKey'>
  readonly places: Pick<Places, 'of'>
  readonly lists: Pick<Lists, 'catalogue' | 'repositories' | 'referrers'>
  readonly pull: Pick<Pull, 'repository' | 'content' | 'blob'>
  readonly history: Pick<History, 'resolve'>
  /** Multiaddrs of peers that are asked for roots named by CID. */
  readonly peers: readonly string[]
}

/** Trees as sources of images. What is here is looked at without counting as use; what isn't is fetched and kept. */
export interface TreeSources {
  /** @throws {RegistryError} UNSUPPORTED for another registry; as {@link ImageSource} does */
  open(name: SourceName, signal: AbortSignal): Promise<ImageSource>
  /** The tree of a source that is one. @throws {RegistryError} NAME_UNKNOWN, UNSUPPORTED */
  tree(name: SourceName, signal: AbortSignal): Promise<Pick<Place, 'view' | 'load'>>
}

export function createTreeSources(options: TreeSourcesOptions): TreeSources {
  const { store, lists, pull, places, history } = options

  /** A place of names for a source that is one tree. */
  async function placeOf(name: SourceName): Promise<RepositoryName['place']> {
    if (name.kind === 'tree') return name.place
    if (name.kind === 'published') {
      const { root } = await history.resolve(name.root)
      return { kind: 'ipfs', cid: root.toString() }
    }
    throw new RegistryError('UNSUPPORTED', `${sourceText(name)} is no tree of IPFS`)
  }

  async function bytesHere(digest: Digest, limit: number): Promise<Uint8Array | undefined> {
    const blob = await store.peek.blob(digest)
    return blob && store.peek.bytes(blob, limit)
  }

  function repositoryAt(name: RepositoryName, place: Place & { name: string }): ImageRepository {
    const { view } = place

    async function byDigest(digest: Digest, signal: AbortSignal): Promise<ManifestContent> {
      const bytes = await bytesHere(digest, MAX_MANIFEST)
      if (bytes === undefined) return pull.content(place, place.name, digest, signal)
      const said = await view.manifestType(place.name, digest, signal)
      return { digest, bytes, mediaType: readManifest(bytes, said).mediaType }
    }

    async function digestOf(tag: string, signal: AbortSignal): Promise<Digest> {
      const found = await view.tag(place.name, tag, signal)
      if (found !== undefined) return found
      throw new RegistryError('MANIFEST_UNKNOWN', `${name.asked} has no tag '${tag}' in ${place.what}`)
    }

    return {
      what: place.what,
      root: view.root.toString(),
      async *tags(after, signal) {
        for (const tag of await view.tags(place.name, signal)) if (tag > after) yield tag
      },
      digest: digestOf,
      async manifest(reference, signal) {
        if (reference.kind === 'tag') return byDigest(await digestOf(reference.tag, signal), signal)
        if (await view.hasManifest(place.name, reference.digest, signal))
          return byDigest(reference.digest, signal)
        throw new RegistryError(
          'MANIFEST_UNKNOWN',
          `${name.asked} has no manifest ${reference.digest} in ${place.what}`
        )
      },
      async config({ digest, size }, signal) {
        if (size > MAX_CONFIG)
          throw new RegistryError('MANIFEST_INVALID', `its config has ${size} bytes, more than ${MAX_CONFIG}`)
        const here = await bytesHere(digest, MAX_CONFIG)
        if (here !== undefined) return here
        const blob = await pull.blob(name, digest, signal)
        if (blob.size > MAX_CONFIG)
          throw new RegistryError(
            'MANIFEST_INVALID',
            `its config has ${blob.size} bytes, more than ${MAX_CONFIG}`
          )
        return buffer(await blob.open())
      },
      async whereabouts(digest, _size, signal) {
        const link = await view.blob(digest, signal)
        const here = (await store.peek.blob(digest)) !== undefined
        return { ...(link && { cid: link.cid.toString() }), here }
      },
      async referrers(digest, signal) {
        const page = { after: '', limit: NAMES }
        return (await lists.referrers(name, digest, undefined, page, signal)).items
      },
      providers: (signal) => providersOf(name, place, signal)
    }
  }

  async function providersOf(name: RepositoryName, place: Place, signal: AbortSignal): Promise<Provider[]> {
    const { place: named } = name
    const domain = named.kind === 'domain' ? named.domain : named.kind === 'ipns' ? named.name : ''
    const records = looksLikeDomain(domain)
      ? await options.discovery.resolve(domain, { signal }).catch(nobody(signal))
      : named.kind === 'ipns'
        ? await options.discovery
            .resolveKey(named.name, { hints: options.peers, signal })
            .catch(nobody(signal))
        : undefined
    const said = (records?.providers ?? []).map((address): Provider => ({ address, from: 'record' }))
    const set =
      named.kind === 'domain' ? [] : options.peers.map((address): Provider => ({ address, from: 'setting' }))
    const all = [...said, ...set]
    // a local tree's peers weren't asked for anything, so nobody is dialled for this
    if (named.kind === 'domain' && place.what.startsWith('the local tree')) return all
    const peers = new Set((await place.peers(signal).catch(() => [])).map(String))
    signal.throwIfAborted()
    return all.map((one) =>
      Object.assign(one, { connected: peers.has(one.address.split('/p2p/').at(-1) ?? '') })
    )
  }

  function nameIn(place: RepositoryName['place'], repository: string): RepositoryName {
    if (place.kind === 'domain')
      return parseRepository(
        place.domain === DEFAULT_DOMAIN ? repository : `${place.domain}/${repository}`,
        place.domain
      )
    return parseRepository(`${place.kind}/${place.kind === 'ipfs' ? place.cid : place.name}/${repository}`)
  }

  async function found(name: RepositoryName, signal: AbortSignal): Promise<ImageRepository> {
    return repositoryAt(name, await pull.repository(name, signal))
  }

  return {
    async open(source, signal) {
      if (source.kind === 'gateway')
        return {
          what: 'this gateway',
          repositories: (after, s) => paged(after, (page) => lists.catalogue(page, s)),
          repository: (name, s) => found(parseRepository(name), s)
        }
      const place = await placeOf(source)
      signal.throwIfAborted()
      return {
        what: sourceText(source),
        bare: withoutDomain,
        repositories: (after, s) => paged(after, (page) => lists.repositories(place, page, s)),
        repository: (name, s) => found(nameIn(place, name), s)
      }
    },

    async tree(source, signal) {
      const place = await placeOf(source)
      // No repository is called so: only the tree is wanted, wherever it is.
      const name = { asked: sourceText(source), place, repository: '_' }
      for await (const found of places.of(name, signal)) return found
      throw new RegistryError('NAME_UNKNOWN', `no registry tree of ${sourceText(source)} is known here`)
    }
  }
}

function withoutDomain(name: string): string {
  const slash = name.indexOf('/')
  const first = name.slice(0, Math.max(0, slash))
  return looksLikeDomain(first) || first === DEFAULT_DOMAIN ? name.slice(slash + 1) : name
}

/** Names of pages that are read as they are needed. */
async function* paged(
  after: string,
  read: (page: { after: string; limit: number }) => Promise<{ items: readonly string[]; more: boolean }>
): AsyncGenerator<string> {
  let from = after
  for (;;) {
    const { items, more } = await read({ after: from, limit: NAMES })
    yield* items
    const last = items.at(-1)
    if (!more || last === undefined) return
    from = last
  }
}

/** That records can't be had is no reason not to show the rest. */
function nobody(signal: AbortSignal): (error: unknown) => undefined {
  return () => {
    signal.throwIfAborted()
    return undefined
  }
}
