import type { Origin } from '../ipfs/transfer.ts'
import { type Digest, digestOf, isDigest, splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { type Descriptor, MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { bareType, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../oci/media-types.ts'
import { type Checked, checkMirrors, type MirrorCheck } from './check.ts'
import { UpstreamError } from './failure.ts'
import type { Mirror } from './mirror.ts'
import { createAsk, type Manner } from './mirrors.ts'
import { createOrigin } from './origin.ts'
import { askReferrers } from './referrers.ts'
import { tagsOf } from './tags.ts'
import type { Wire } from './wire.ts'

/** A manifest of another registry, checked against its schema and, where that is known, its digest. */
export interface UpstreamManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly etag: string | undefined
}

/** A manifest of another registry that isn't here yet, as a HEAD describes it. */
export interface ResolvedTag {
  readonly digest: Digest
  readonly mediaType: string | undefined
  /** In bytes. */
  readonly size: number | undefined
  readonly etag: string | undefined
}

/** How a domain's upstream is used; times in milliseconds. */
export interface UpstreamPolicy {
  /** Whether the domain's local tree, and the one that it publishes, are looked into before it. */
  readonly local: boolean
  readonly published: boolean
  /** Nothing is asked for; what is here is served. */
  readonly offline: boolean
  /** How long a tag is served without being asked for again. */
  readonly ttlMs: number
}

/** How one mirror is doing. */
export interface MirrorStatus {
  readonly url: string
  /** What it failed with, while it is left alone for that. */
  readonly failure?: string
  readonly limits: Readonly<Record<string, string>>
}

/** Another registry, which a domain's images are pulled through from. Its names are those below the domain. */
export interface Upstream {
  readonly domain: string
  readonly policy: UpstreamPolicy
  /** @throws {UpstreamError}; the signal's reason */
  manifest(repository: string, reference: string, signal: AbortSignal): Promise<UpstreamManifest>
  /**
   * Whether a tag is still what was seen: by its digest, else by its ETag. Somebody waits with that at hand, so mirrors
   * that failed lately aren't asked.
   *
   * @throws {UpstreamError}; the signal's reason
   */
  isSame(
    repository: string,
    tag: string,
    seen: { digest: Digest; etag: string | undefined },
    signal: AbortSignal
  ): Promise<boolean>
  /**
   * What a tag stands for, without fetching it; `undefined` where the registry doesn't say it in a HEAD.
   *
   * @throws {UpstreamError}; the signal's reason
   */
  resolve(repository: string, tag: string, signal: AbortSignal): Promise<ResolvedTag | undefined>
  /** Whether its content is kept from peers. @throws the signal's reason */
  isPrivate(signal: AbortSignal): Promise<boolean>
  /** A blob, for a transfer. Nothing is asked before it is read. */
  blob(repository: string, digest: Digest, size: number | undefined): Origin
  /** All tags, in the order in which it lists them, whatever that is. @throws {UpstreamError} */
  tags(repository: string, signal: AbortSignal): Promise<readonly string[]>
  /** What refers to a manifest; none for one that nobody knows. @throws {UpstreamError} */
  referrers(repository: string, subject: Digest, signal: AbortSignal): Promise<readonly Descriptor[]>
  mirrors(): readonly MirrorStatus[]
  /** Asks all its servers for an image, or just whether they answer. @throws the signal's reason */
  check(
    image: { readonly repository: string; readonly reference: string } | undefined,
    signal: AbortSignal
  ): Promise<readonly MirrorCheck[]>
}

/** What clients of today can use; a registry that knows none of a tag's types converts it otherwise. */
export const MANIFEST_TYPES = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, '*/*;q=0.1'].join(', ')

/** What servers say that don't know manifests. */
const UNTYPED = new Set(['', 'application/json', 'application/octet-stream', 'text/plain'])

/** How long a mirror that sent wrong bytes for a digest isn't asked for it, in milliseconds. */
const WRONG_MS = 10 * 60_000

/** Makes it over its mirrors, the most authoritative one last. */
export function createUpstream(options: {
  domain: string
  policy: UpstreamPolicy
  mirrors: readonly Mirror[]
  isPrivate: Upstream['isPrivate']
  wire: Wire
  /** How often a server is asked that fails at once; {@link createAsk}'s unless given. */
  tries?: number
  /** What readers of a blob are told of a failure: what clients are, unless given. */
  refusal?: (error: unknown) => unknown
  /** What {@link Upstream.check} asks for without an image. */
  probe: Checked
}): Upstream {
  const { domain, policy, mirrors, wire } = options
  const ask = createAsk(mirrors, options.tries)
  const wrong = new Map<string, number>()

  const offline = () => {
    if (policy.offline)
      throw new UpstreamError('down', `${domain} is set to be offline, and this is not here`)
  }

  /** Mirrors that sent something else under a digest are passed over for a while. */
  function passingOver(digest: string): Manner {
    const key = (mirror: Mirror) => `${mirror.url.href} ${digest}`
    return { patient: true, unless: (mirror) => (wrong.get(key(mirror)) ?? 0) > performance.now() }
  }

  function noteWrong(mirror: Mirror, digest: string): void {
    const now = performance.now()
    for (const [key, until] of wrong) if (until < now) wrong.delete(key)
    wrong.set(`${mirror.url.href} ${digest}`, now + WRONG_MS)
  }

  async function fetchManifest(
    mirror: Mirror,
    repository: string,
    reference: string,
    signal: AbortSignal
  ): Promise<UpstreamManifest> {
    const headers = { accept: MANIFEST_TYPES, 'accept-encoding': 'identity' }
    const reply = await mirror.ask({
      method: 'GET',
      repository,
      path: `manifests/${reference}`,
      headers,
      signal
    })
    const bytes = await wire.read(reply, MAX_MANIFEST)
    const said = reply.headers['docker-content-digest']
    const what = `${mirror.url.host} sends as ${repository}:${reference}`
    const expected = isDigest(reference)
      ? reference
      : typeof said === 'string' && isDigest(said)
        ? said
        : undefined
    const digest = digestOf(bytes, expected === undefined ? 'sha256' : splitDigest(expected).algorithm)
    if (expected !== undefined && digest !== expected)
      throw new UpstreamError('wrong', `what ${what} is ${digest}, not ${expected}`)
    const type = bareType(reply.headers['content-type'])
    // the page of a proxy or a login, whatever it holds
    if (type.startsWith('text/') && !UNTYPED.has(type))
      throw new UpstreamError('wrong', `what ${what} is ${type}, not a manifest`)
    try {
      const { mediaType } = readManifest(bytes, UNTYPED.has(type) ? undefined : type)
      return { digest, mediaType, bytes, etag: reply.headers.etag }
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error
      throw new UpstreamError('wrong', `what ${what} is no manifest: ${error.message}`, { cause: error })
    }
  }

  return {
    domain,
    policy,
    isPrivate: options.isPrivate,
    async manifest(repository, reference, signal) {
      offline()
      return ask(signal, { patient: true }, (mirror) => fetchManifest(mirror, repository, reference, signal))
    },

    async isSame(repository, tag, { digest, etag }, signal) {
      offline()
      const headers: Record<string, string> = {
        accept: MANIFEST_TYPES,
        ...(etag !== undefined && { 'if-none-match': etag })
      }
      return ask(signal, { patient: false }, async (mirror) => {
        const path = `manifests/${tag}`
        const reply = await mirror.ask({ method: 'HEAD', repository, path, headers, signal })
        reply.body.resume()
        const said = reply.headers['docker-content-digest']
        if (reply.status === 304) return true
        if (said !== undefined) return said === digest
        return etag !== undefined && reply.headers.etag === etag
      })
    },

    async resolve(repository, tag, signal) {
      offline()
      return ask(signal, { patient: true }, async (mirror) => {
        const path = `manifests/${tag}`
        const reply = await mirror.ask({
          method: 'HEAD',
          repository,
          path,
          headers: { accept: MANIFEST_TYPES },
          signal
        })
        reply.body.resume()
        const { headers } = reply
        const digest = headers['docker-content-digest']
        if (typeof digest !== 'string' || !isDigest(digest)) return undefined
        const type = bareType(headers['content-type'])
        const size = Number(headers['content-length'] ?? Number.NaN)
        return {
          digest,
          mediaType: UNTYPED.has(type) ? undefined : type,
          size: Number.isSafeInteger(size) ? size : undefined,
          etag: headers.etag
        }
      })
    },

    blob(repository, digest, size) {
      const manner = passingOver(digest)
      return createOrigin({
        ask: async (signal, given, work) => {
          offline()
          return ask(signal, { ...given, ...manner }, work)
        },
        wire,
        repository,
        digest,
        size,
        what: `${domain}/${repository}`,
        ...(options.refusal && { refusal: options.refusal }),
        onWrong: (mirror) => noteWrong(mirror, digest)
      })
    },

    async tags(repository, signal) {
      offline()
      return ask(signal, { patient: true }, (mirror) => tagsOf({ mirror, wire }, repository, signal))
    },

    async referrers(repository, subject, signal) {
      offline()
      return askReferrers({ ask, wire }, repository, subject, signal)
    },

    check: (image, signal) =>
      checkMirrors(mirrors, image === undefined ? options.probe : { ...image, mayLack: false }, signal),

    mirrors: () =>
      mirrors.map((mirror): MirrorStatus => {
        const { url, limits } = mirror
        const resting = mirror.resting()
        const status = { url: url.href, limits }
        return resting === undefined ? status : Object.assign(status, { failure: resting.error.message })
      })
  }
}
