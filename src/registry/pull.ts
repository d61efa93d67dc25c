import { Readable } from 'node:stream'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Ipfs } from '../ipfs/index.ts'
import type { Transfers } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import type { Reference, RepositoryName } from '../oci/reference.ts'
import type { BlobInfo, ByteRange, Store } from '../store/index.ts'
import { createReadAhead } from './ahead.ts'
import { createArriving } from './arriving.ts'
import type { Links } from './links.ts'
import type { Place, Places } from './places.ts'
import { createGaps, isGap, neither } from './published-gaps.ts'
import { having, type Search } from './search.ts'
import type { Through, ThroughRepository } from './through.ts'
import { timed } from './timings.ts'

/** A manifest, byte for byte as it was pushed. */
export interface ManifestContent {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Uint8Array
  /** Why its tag may be out of date, where the registry that it comes from can't be asked. */
  readonly stale?: string
}

/** A blob that the repository has. */
export interface BlobContent {
  readonly digest: Digest
  /** In bytes. */
  readonly size: number
  /** The bytes; what arrives in full has been verified. */
  open(range?: ByteRange): Promise<Readable>
  /** Ends when all of it is in the store: that may be later than when it has been read. */
  bring(signal: AbortSignal): Promise<unknown>
}

/** Reading: from local trees, and from those that others publish. */
export interface Pull {
  /** @throws {RegistryError} MANIFEST_UNKNOWN, NAME_UNKNOWN, SOURCE_FAILED, SOURCE_TIMEOUT, TOOMANYREQUESTS */
  manifest(name: RepositoryName, reference: Reference, signal: AbortSignal): Promise<ManifestContent>
  /**
   * @param how `head` only asks whether it can be had: what isn't here an upstream is asked for, whatever a manifest says
   *   of it, for a client that hears yes does not push the blob, and its manifest then needs it
   * @throws {RegistryError} BLOB_UNKNOWN, NAME_UNKNOWN, SOURCE_FAILED, SOURCE_TIMEOUT, TOOMANYREQUESTS
   */
  blob(
    name: RepositoryName,
    digest: Digest,
    signal: AbortSignal,
    how?: { head: boolean }
  ): Promise<BlobContent>
  /** The first tree that has the repository, for what is listed rather than looked up. */
  repository(name: RepositoryName, signal: AbortSignal): Promise<Place & { name: string }>
  /** A manifest of a place by its digest, fetched if need be. */
  content(place: Place, name: string, digest: Digest, signal: AbortSignal): Promise<ManifestContent>
  /** Ends what was begun ahead of requests. */
  stop(): void
}

export function createPull(options: {
  store: Store
  ipfs: Ipfs
  transfers: Transfers
  places: Places
  links: Links
  /** Other registries; none unless given. */
  through?: Through
  log: Log
  /** Told of bytes that came from peers, and for which repository where that is known. */
  received?: (name: RepositoryName | undefined, bytes: number) => void
}): Pull {
  const { store, ipfs, transfers, places, links } = options
  const readAhead = createReadAhead({ store, ipfs, log: options.log })
  const arriving = createArriving({
    transfers,
    received: options.received ?? (() => undefined),
    proofMs: ipfs.timeouts.blockMs,
    log: options.log
  })
  const gaps = createGaps(options.log)
  /** By root, repository and digest: the same bytes may have been pushed as one thing here and as another there. */
  const mediaTypes = new LRUCache<string, string>({ max: 20_000 })

  /** A blob of a place in the store, fetched if it isn't there; `undefined` when the tree hasn't got it. */
  async function fetched(
    place: Place,
    digest: Digest,
    limit: number,
    signal: AbortSignal
  ): Promise<BlobInfo | undefined> {
    const kept = await store.blobs.stat(digest)
    if (kept !== undefined) return kept
    const link = await place.view.blob(digest, signal)
    if (link === undefined) return undefined
    const peers: Place['peers'] = (s) => place.peers(s, link.cid)
    const known = await peers(signal)
    const { size } = await timed(signal, 'fetch', () => ipfs.stat(link.cid, { peers: known, signal }))
    if (size > limit) {
      throw new RegistryError(
        'SOURCE_FAILED',
        `${place.what} holds ${size} bytes as ${digest}, more than the ${limit} allowed`
      )
    }
    const received = (bytes: number) => options.received?.(undefined, bytes)
    return timed(signal, 'fetch', async () => {
      const transfer = await transfers.open({ digest, cid: link.cid, peers, received }, signal)
      return transfer.done(signal)
    })
  }

  async function content(
    place: Place,
    name: string,
    digest: Digest,
    signal: AbortSignal
  ): Promise<ManifestContent> {
    const blob = await fetched(place, digest, MAX_MANIFEST, signal)
    if (blob === undefined)
      throw new RegistryError(
        'MANIFEST_UNKNOWN',
        `${place.what} names the manifest ${digest} but does not hold it`
      )
    const bytes = await store.blobs.readSmall(blob, MAX_MANIFEST)
    const key = `${place.view.root} ${name} ${digest}`
    let mediaType = mediaTypes.get(key)
    if (mediaType === undefined) {
      mediaType = readManifest(bytes, await place.view.manifestType(name, digest, signal)).mediaType
      mediaTypes.set(key, mediaType)
    }
    return { digest, mediaType, bytes }
  }

  /**
   * What was pulled through and kept in the local tree: as it is while it is known to be fresh, else as the upstream says.
   * `undefined` where the upstream must be asked for all of it.
   */
  async function throughTree(
    up: ThroughRepository,
    place: Place & { name: string },
    reference: Reference,
    digest: Digest,
    signal: AbortSignal
  ): Promise<ManifestContent | undefined> {
    const now =
      reference.kind === 'tag'
        ? await timed(signal, 'fetch', () => up.tag(reference.tag, digest, signal))
        : { digest }
    if (now.content !== undefined) return now.content
    const here = (await store.blobs.stat(now.digest)) !== undefined
    const found = here ? await content(place, place.name, now.digest, signal) : undefined
    return found && (now.stale === undefined ? found : { ...found, stale: now.stale })
  }

  /** A blob that isn't here, by the file that a tree names for it. */
  async function inPlace(
    place: Place & { name: string },
    name: RepositoryName,
    up: ThroughRepository | undefined,
    { digest, cid, head }: { digest: Digest; cid: CID; head: boolean },
    signal: AbortSignal
  ): Promise<BlobContent> {
    const peers: Place['peers'] = (s) => place.peers(s, cid)
    if (up === undefined) return arriving({ digest, cid, peers }, name, signal)
    if (place.kind === 'local') {
      const file = { cid, peers: (s: AbortSignal) => peers(s).catch(() => []) }
      return arriving(await up.wanted(digest, { head, named: true, file }, signal), name, signal)
    }
    const origin = gaps.filling(up.origin(digest), () => gaps.found(place, name, { digest }))
    return arriving({ digest, cid, peers, origin }, name, signal)
  }

  return {
    content,
    stop: () => readAhead.stop(),

    async manifest(name, reference, signal) {
      const up = options.through?.of(name)
      const search: Search = { seen: false, unasked: '', upstream: up !== undefined }
      const wants = reference.kind === 'tag' ? { tag: reference.tag } : { manifest: reference.digest }
      for await (const place of having(places, name, search, signal, wants)) {
        let wanted = reference
        try {
          const digest =
            reference.kind === 'tag'
              ? await place.view.tag(place.name, reference.tag, signal)
              : (await place.view.hasManifest(place.name, reference.digest, signal)) && reference.digest
          if (!digest) continue
          if (up !== undefined && place.kind === 'local') {
            const found = await throughTree(up, place, reference, digest, signal)
            if (found !== undefined) return found
            break
          }
          // what the tag stands for is known now, whoever has it
          wanted = { kind: 'digest', digest }
          if (reference.kind === 'tag' && (await store.blobs.stat(digest)) === undefined)
            await place.view.ahead(place.name, { manifest: digest }, signal)
          const found = await content(place, place.name, digest, signal)
          readAhead.start(place, place.name, found, signal)
          return found
        } catch (error) {
          if (up === undefined || place.kind !== 'published' || !isGap(error)) throw error
          gaps.found(place, name, wanted, error)
          return timed(signal, 'fetch', () => up.manifest(wanted, signal)).catch((failure: unknown) => {
            throw neither(failure)
          })
        }
      }
      if (up !== undefined) return timed(signal, 'fetch', () => up.manifest(reference, signal))
      const text = reference.kind === 'tag' ? `tag '${reference.tag}'` : `manifest ${reference.digest}`
      throw new RegistryError(
        'MANIFEST_UNKNOWN',
        search.seen
          ? `${name.asked} has no ${text}${search.unasked}`
          : `no repository ${name.asked} is known here`,
        {
          detail: reference
        }
      )
    },

    async blob(name, digest, signal, { head } = { head: false }) {
      const kept = await store.blobs.stat(digest)
      if (kept !== undefined && (await links.has(name, digest))) return local(store, kept, digest)
      const up = options.through?.of(name)
      const search: Search = { seen: false, unasked: '', upstream: up !== undefined }
      let named = false
      let gap: (() => void) | undefined
      for await (const place of having(places, name, search, signal, { blob: digest })) {
        readAhead.asked(place, place.name)
        try {
          if (!(await place.view.hasBlob(place.name, digest, signal))) continue
          named = true
          if (kept !== undefined) return local(store, kept, digest)
          const link = await place.view.blob(digest, signal)
          if (link !== undefined)
            return await inPlace(place, name, up, { digest, cid: link.cid, head }, signal)
          if (up !== undefined && place.kind === 'published') gap = () => gaps.found(place, name, { digest })
        } catch (error) {
          if (up === undefined || place.kind !== 'published' || !isGap(error)) throw error
          gap = () => gaps.found(place, name, { digest }, error)
        }
      }
      if (up !== undefined) {
        if (kept === undefined) {
          const wanted = await timed(signal, 'fetch', () => up.wanted(digest, { head, named }, signal))
          const { origin } = wanted
          const filling = gap && origin && { origin: gaps.filling(origin, gap) }
          return arriving({ ...wanted, ...filling }, name, signal)
        }
        // it is here, but is it the repository's? a client that may not have it there may not have it here
        await timed(signal, 'fetch', () => up.origin(digest).size(signal))
        up.kept(digest)
        return local(store, kept, digest)
      }
      throw new RegistryError('BLOB_UNKNOWN', `${name.asked} has no blob ${digest}${search.unasked}`, {
        detail: { digest }
      })
    },

    async repository(name, signal) {
      for await (const place of places.of(name, signal)) {
        if (place.name !== undefined) return { ...place, name: place.name }
      }
      throw new RegistryError('NAME_UNKNOWN', `no repository ${name.asked} is known here`, {
        detail: { name: name.asked }
      })
    }
  }
}

function local(store: Store, blob: BlobInfo, digest: Digest): BlobContent {
  return { digest, size: blob.size, open: (range) => store.blobs.read(blob, range), bring: async () => blob }
}
