import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { type Digest, digestOf, splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { type Descriptor, readManifest } from '../oci/manifest.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Store, Uses } from '../store/index.ts'
import { type Content, putManifest, type TreeView, type TreeWriter } from '../tree/index.ts'
import { keepManifest } from './keep-manifest.ts'
import type { Links } from './links.ts'
import type { Place, Places } from './places.ts'
import { createBases } from './push-base.ts'
import type { PushThrough } from './push-through.ts'
import type { Quota } from './quota.ts'
import { writableDomain } from './remove.ts'
import type { TagTimes } from './tag-times.ts'
import { timed } from './timings.ts'

/** What a pushed manifest became. */
export interface Pushed {
  readonly digest: Digest
  readonly subject: Digest | undefined
  readonly domain: string
  /** The domain's new root. */
  readonly root: CID
}

/** A manifest as it comes. */
export interface ManifestPush {
  readonly bytes: Uint8Array
  readonly contentType: string | undefined
  /** The digest that it must have. */
  readonly digest: Digest | undefined
  readonly tags: readonly string[]
}

/** Writing into local trees. What is answered survives a crash; what is refused leaves nothing behind. */
export interface Push {
  /**
   * Keeps a manifest, under its digest and the tags given, if the repository has all that it names.
   *
   * @throws {RegistryError} MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, DIGEST_INVALID, DENIED (a read-only root, or a limit is reached)
   */
  manifest(name: RepositoryName, what: ManifestPush, signal: AbortSignal): Promise<Pushed>
  /**
   * Gives the repository a blob that another repository of this gateway has, `from` or (where that is
   * not given) any: whoever knows a digest may then have the content. `false` if it can't.
   */
  mount(
    name: RepositoryName,
    digest: Digest,
    from: RepositoryName | undefined,
    signal: AbortSignal
  ): Promise<boolean>
  /** @throws {RegistryError} DENIED when the name is of a root that nobody can write */
  writableDomain(name: RepositoryName): string
}

/** How many blobs of a manifest are looked for at once. */
const AT_ONCE = 64

/** How many blobs that are missing a refusal names. */
const MAX_MISSING = 20

/** How content is looked for. */
interface Asking {
  readonly up: PushThrough | undefined
  readonly signal: AbortSignal
}

export function createPush(options: {
  store: Store
  trees: TreeWriter
  /** Where pushes say what their manifest names, so that no collection takes it out of the tree meanwhile. */
  treeUses: Uses
  places: Places
  links: Links
  quota: Quota
  tagTimes: Pick<TagTimes, 'rows'>
  log: Log
  /** Whether a domain's first push here starts from its published root, or from nothing. */
  base: 'published' | 'empty'
  /** For repositories that have an upstream; none have unless given. */
  through?: (name: RepositoryName) => PushThrough | undefined
  /** Told of the blobs of each manifest that was pushed, itself included. */
  pushed?: (digests: readonly Digest[]) => void
}): Push {
  const { store, trees, treeUses, places, links, quota, tagTimes } = options

  const baseOf = createBases(options)

  /** Finds content that a manifest names, as a blob or manifest of this repository. */
  async function contentOf(
    descriptor: Descriptor,
    has: (digest: Digest) => Promise<boolean>,
    view: TreeView | undefined,
    { up, signal }: Asking
  ): Promise<Content | undefined> {
    const { digest, size } = descriptor
    if (!(await has(digest))) return undefined
    const blob = await store.blobs.stat(digest)
    // What left the cache is the upstream's only, which may lose it.
    if (blob === undefined && up !== undefined) return undefined
    if (blob === undefined) {
      // The tree began as a copy of a published one, whose bytes stay with their publisher until they are asked for.
      const link = await view?.blob(digest, signal)
      return link && { digest, link }
    }
    if (blob.size !== size) {
      throw new RegistryError(
        'MANIFEST_INVALID',
        `the manifest says that ${digest} has ${size} bytes, but it has ${blob.size}`
      )
    }
    return { digest, link: { cid: blob.cid, size: blob.dagSize } }
  }

  /**
   * All that a manifest names, or a refusal that lists what is missing. Places are asked in order, each for
   * what those before it lack; a manifest that names very much is looked into part by part, so that others get
   * their turn, and no further than enough is known to be missing.
   */
  async function contents(
    descriptors: readonly Descriptor[],
    among: readonly (() => Promise<Place | undefined>)[],
    has: (place: Place | undefined, digest: Digest) => Promise<boolean>,
    asking: Asking
  ): Promise<Content[]> {
    const { up, signal } = asking
    const found: Content[] = []
    const missing: Digest[] = []
    const wanted = [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()]
    let at = 0
    for (; at < wanted.length && missing.length < MAX_MISSING; at += AT_ONCE) {
      signal.throwIfAborted()
      let left = wanted.slice(at, at + AT_ONCE)
      for (const find of among) {
        if (left.length === 0) break
        const place = await find()
        const hasIt = (digest: Digest) => has(place, digest)
        const here = await Promise.all(left.map((one) => contentOf(one, hasIt, place?.view, asking)))
        found.push(...here.filter((content) => content !== undefined))
        left = left.filter((_, i) => here[i] === undefined)
      }
      for (const one of left) {
        const brought = (await up?.bring(one.digest, signal)) === true
        const content = brought ? await contentOf(one, async () => true, undefined, asking) : undefined
        if (content === undefined) missing.push(one.digest)
        else found.push(content)
      }
    }
    if (missing.length > 0) {
      const named = missing.slice(0, MAX_MISSING)
      const more = missing.length > named.length || at < wanted.length ? ' and more' : ''
      throw new RegistryError(
        'MANIFEST_BLOB_UNKNOWN',
        `push ${named.join(', ')}${more} to this repository before the manifest that names it`,
        {
          detail: named.map((digest) => ({ digest }))
        }
      )
    }
    return found
  }

  async function repositoryHas(name: RepositoryName, digest: Digest, signal: AbortSignal): Promise<boolean> {
    if (name.place.kind !== 'domain') return false
    if (await links.has(name, digest)) return true
    const place = await places.local(name.place.domain, name.repository, signal)
    return place?.name !== undefined && place.view.hasBlob(place.name, digest, signal)
  }

  /** The repository's name in the local tree; a new repository is written with its domain in front. */
  const treeName = (place: Place | undefined, name: RepositoryName, domain: string) =>
    place?.name ?? `${domain}/${name.repository}`

  /** See {@link Push.manifest}; what it finds must stay until the new root is durable. */
  async function putIn(
    name: RepositoryName,
    { bytes, contentType, digest: expected, tags }: ManifestPush,
    signal: AbortSignal
  ): Promise<Pushed> {
    const domain = writableDomain(name)
    const manifest = readManifest(bytes, contentType)
    const digest = digestOf(bytes, expected === undefined ? 'sha256' : splitDigest(expected).algorithm)
    if (expected !== undefined && expected !== digest) {
      throw new RegistryError('DIGEST_INVALID', `the manifest is ${digest}, not ${expected}`, {
        detail: { expected, actual: digest }
      })
    }
    const { blobs: layers, children, subject } = manifest
    await treeUses.expect([
      digest,
      ...[...layers, ...children, ...(subject ? [subject] : [])].map((one) => one.digest)
    ])
    const local = await places.local(domain, name.repository, signal)
    let asked: Promise<Place | undefined> | undefined
    // Blobs of the published tree count too, for a client that asked was told that they are here.
    const beyond = () => (asked ??= places.beyond(domain, name.repository, signal))
    // What the tree will be made from: its manifests are there, and its name for the repository stays.
    const ground = local ?? (options.base === 'published' ? await beyond() : undefined)
    // The tree is in memory; links are not.
    const hasBlob = async (place: Place | undefined, d: Digest) =>
      (place?.name !== undefined && (await place.view.hasBlob(place.name, d, signal))) || links.has(name, d)
    const hasManifest = async (place: Place | undefined, d: Digest) =>
      place?.name !== undefined && place.view.hasManifest(place.name, d, signal)

    const up = options.through?.(name)
    const blobs = await contents(manifest.blobs, [async () => ground, beyond], hasBlob, { up, signal })
    await contents(manifest.children, [async () => ground], hasManifest, { up: undefined, signal })
    const kept = await keepManifest(store, bytes, digest)
    const repository = treeName(ground, name, domain)
    // A type that it was pushed with before would go on being told.
    const typed = (await ground?.view.manifestType(repository, digest, signal)) !== undefined
    const change = putManifest({
      name: repository,
      manifest: kept.content,
      tags,
      blobs,
      subject: manifest.subject?.digest,
      mediaType: manifest.selfDescribing && !typed ? undefined : manifest.mediaType,
      listed: { mediaType: manifest.mediaType, digest, size: bytes.length }
    })
    const moves = tags.map((tag) => ({ repository, tag, digest }))
    const named = [...manifest.blobs, ...manifest.children].map((one) => one.digest)
    const also = (await up?.rows(tags, named)) ?? []
    // whoever pushes it to a tree of our own means it to be had from here
    const revealed = await store.privates.reveals(blobs.map((blob) => blob.digest))
    const rows = [...kept.rows, ...(await tagTimes.rows(domain, moves)), ...also, ...revealed]
    const root = await timed(signal, 'store', () =>
      trees.change(domain, { ...change, rows }, { signal, base: baseOf(domain) })
    )
    options.pushed?.([digest, ...manifest.blobs.map((blob) => blob.digest)])
    return { digest, subject: manifest.subject?.digest, domain, root }
  }

  async function mount(
    name: RepositoryName,
    digest: Digest,
    from: RepositoryName | undefined,
    signal: AbortSignal
  ): Promise<boolean> {
    writableDomain(name)
    const blob = await store.blobs.stat(digest)
    if (blob === undefined) return false
    const has = from === undefined || (await repositoryHas(from, digest, signal))
    if (has) {
      await quota.added(writableDomain(name), digest, blob.size, signal)
      await links.add(name, digest)
    }
    return has
  }

  return {
    writableDomain,
    async manifest(name, what, signal) {
      // Outside of the section: making room waits for all that have begun.
      const room = quota.reserve(writableDomain(name))
      try {
        await room.take(what.bytes.length)
        const pushed = await store.uses.during(() => putIn(name, what, signal))
        await room.kept(pushed.digest, what.bytes.length)
        return pushed
      } finally {
        room.release()
      }
    },
    mount: (name, digest, from, signal) => store.uses.during(() => mount(name, digest, from, signal))
  }
}
