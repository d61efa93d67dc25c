import { LRUCache } from 'lru-cache'
import type { Origin, Wanted } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { type Descriptor, readManifest } from '../oci/manifest.ts'
import type { Reference, RepositoryName } from '../oci/reference.ts'
import type { IndexWrite, Records } from '../store/index.ts'
import { asRefusal, createShared, type Upstream, UpstreamError, type Upstreams } from '../upstream/index.ts'
import type { Near } from './near.ts'
import type { ManifestContent } from './pull.ts'
import type { ThroughKeeper } from './through-keep.ts'
import { createThroughLists, type Seen } from './through-lists.ts'
import { manifestFromPeers } from './through-peers.ts'
import { createSeenTags, type SeenTag } from './through-tags.ts'
import { createWanted, type KnownBlob } from './through-wanted.ts'

/** What a tag of the local tree stands for now. */
export interface Current {
  readonly digest: Digest
  /** The manifest, where it has just come. */
  readonly content?: ManifestContent
  /** Why it may be out of date. */
  readonly stale?: string
}

/** A repository that is pulled through from another registry, and kept in the domain's local tree. */
export interface ThroughRepository {
  /**
   * What a tag that the local tree has as `local` is now: that, while it is fresh, was pushed here, or the upstream
   * can't be asked.
   *
   * @throws {RegistryError} MANIFEST_UNKNOWN when the upstream has no such tag any more, or doesn't let us have it
   */
  tag(tag: string, local: Digest, signal: AbortSignal): Promise<Current>
  /**
   * A manifest that isn't here; then it is.
   *
   * @throws {RegistryError} MANIFEST_UNKNOWN, TOOMANYREQUESTS, SOURCE_FAILED, SOURCE_TIMEOUT
   */
  manifest(reference: Reference, signal: AbortSignal): Promise<ManifestContent>
  /** A blob, as the registry has it. @param how `ask` asks it how long that is also where a manifest has said so */
  origin(digest: Digest, how?: { ask: boolean }): Origin
  /** A blob for a transfer: from peers who have it, where it may be theirs to give, and from the registry. */
  wanted(digest: Digest, known: KnownBlob, signal: AbortSignal): Promise<Wanted>
  /** The same from the registry alone, which is asked how long it is: for what was here, and turned out damaged. */
  again(digest: Digest, signal: AbortSignal): Promise<Wanted>
  /** A blob is in the store now, and the repository has it. */
  kept(digest: Digest): void
  /** What refers to a manifest. @throws {RegistryError} as {@link ThroughRepository.manifest} */
  referrers(subject: Digest, signal: AbortSignal): Promise<Seen<Descriptor>>
  /** All tags, in no order. @throws {RegistryError} NAME_UNKNOWN, and as {@link ThroughRepository.manifest} */
  tags(signal: AbortSignal): Promise<Seen<string>>
}

type Missing = 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN'

/** Pulling through other registries. */
export interface Through {
  of(name: RepositoryName): ThroughRepository | undefined
  /** Rows that say that tags were pushed here. */
  pushed(domain: string, repository: string, tags: readonly string[]): readonly IndexWrite[]
  stop(): Promise<void>
}

/** How long somebody who could have what is here waits for the upstream to say that it is still right, in milliseconds. */
const PATIENCE_MS = 2000

/** How long nobody is asked again who just failed or was too slow, in milliseconds. */
const QUIET_MS = 10_000

/** How long it is remembered that the upstream hasn't got something, in milliseconds. */
const UNKNOWN_MS = 30_000

/** How long what has just come is given to those who looked for it here a moment before, in milliseconds and bytes. */
const LATEST_MS = 5000
const MAX_LATEST = 16 * 1024 * 1024

/** How long work goes on that nobody waits for, in milliseconds. */
const LINGER_MS = 30_000

/** How long writing down what came may take, in milliseconds. */
const KEEP_MS = 30_000

export function createThrough(options: {
  upstreams: Upstreams
  keeper: ThroughKeeper
  near: Near
  records: Records
  log: Log
}): Through {
  const { upstreams, keeper, near, log } = options
  const seenTags = createSeenTags(options.records)
  let stopped = false
  const running = new Set<Promise<unknown>>()
  const fetching = createShared<ManifestContent>(LINGER_MS)
  const checking = createShared<Current>(LINGER_MS)
  const latest = new LRUCache<string, ManifestContent>({
    maxSize: MAX_LATEST,
    sizeCalculation: ({ bytes }) => bytes.length + 1,
    ttl: LATEST_MS
  })
  const quiet = new LRUCache<string, string>({ max: 10_000, ttl: QUIET_MS })
  const unknown = new LRUCache<string, RegistryError>({ max: 10_000, ttl: UNKNOWN_MS })
  /** What is in a repository, as its manifests say. */
  const named = new LRUCache<string, Descriptor>({ max: 50_000 })

  const track = <T>(work: Promise<T>): Promise<T> => {
    const settled = work.catch(() => undefined).finally(() => running.delete(settled))
    running.add(settled)
    return work
  }

  const referrers = createThroughLists<Descriptor>({ log, missing: 'MANIFEST_UNKNOWN', track })
  const tagLists = createThroughLists<string>({ log, missing: 'NAME_UNKNOWN', track })

  function repositoryOf(upstream: Upstream, domain: string, repository: string): ThroughRepository {
    const key = (what: string) => `${domain}/${repository} ${what}`

    /** Fetches a manifest and keeps it; if it can't be kept it is served all the same. */
    async function fetched(reference: Reference, signal: AbortSignal): Promise<ManifestContent> {
      const text = reference.kind === 'tag' ? reference.tag : reference.digest
      const isPrivate = await upstream.isPrivate(signal)
      const from = { near, upstream, repository, named: (digest: Digest) => named.get(key(digest)) }
      const passed = isPrivate ? undefined : await manifestFromPeers(from, reference, signal)
      const { digest, mediaType, bytes, etag } = passed ?? (await upstream.manifest(repository, text, signal))
      const content = { digest, mediaType, bytes }
      const { blobs, children } = readManifest(bytes, mediaType)
      for (const one of [...blobs, ...children]) named.set(key(one.digest), one)
      if (!isPrivate) near.ahead([...blobs, ...children])
      const tags = reference.kind === 'tag' ? [reference.tag] : []
      const seen: SeenTag = { digest, etag, at: Date.now() }
      const rows = tags.map((tag) => seenTags.row(domain, repository, tag, seen))
      // whoever asked may go meanwhile: what came stays
      await track(
        keeper.manifest(domain, repository, content, tags, { rows, isPrivate }, AbortSignal.timeout(KEEP_MS))
      ).catch((error: unknown) => {
        log.warn(
          { domain, repository, digest, cause: reason(error) },
          'could not keep what was pulled through'
        )
      })
      return content
    }

    /** Asks for what is here only if the upstream hasn't just said that it hasn't got it. */
    async function unlessMissing<T>(what: string, code: Missing, ask: () => Promise<T>): Promise<T> {
      const missing = unknown.get(what)
      if (missing !== undefined) throw missing
      try {
        return await ask()
      } catch (error) {
        const refusal = asRefusal(error, code)
        if (refusal instanceof RegistryError && refusal.code === code) unknown.set(what, refusal)
        throw refusal
      }
    }

    async function checked(tag: string, seen: SeenTag, signal: AbortSignal): Promise<Current> {
      try {
        const { digest, etag } = seen
        if (await upstream.isSame(repository, tag, { digest, etag }, signal)) {
          await seenTags.put(domain, repository, tag, { ...seen, at: Date.now() })
          return { digest }
        }
        const content = await fetched({ kind: 'tag', tag }, signal)
        return { digest: content.digest, content }
      } catch (error) {
        // Who isn't let in any more may not have it from here either: that is no failure. Nor is a tag that has gone.
        const refused = error instanceof UpstreamError && ['unknown', 'denied'].includes(error.fault)
        if (refused || stopped) throw error
        const why = reason(error)
        quiet.set(key(tag), why)
        log.warn(
          { domain, repository, tag, cause: why },
          'an upstream cannot be asked, so what is here is served'
        )
        return { digest: seen.digest, stale: why }
      }
    }

    function origin(digest: Digest, { ask } = { ask: false }): Origin {
      const what = key(digest)
      const whole = upstream.blob(repository, digest, ask ? undefined : named.get(what)?.size)
      return { ...whole, size: (signal) => unlessMissing(what, 'BLOB_UNKNOWN', () => whole.size(signal)) }
    }

    function kept(digest: Digest): void {
      const within = AbortSignal.timeout(KEEP_MS)
      track(keeper.blob(domain, repository, digest, within)).catch((error: unknown) => {
        log.warn(
          { domain, repository, digest, cause: reason(error) },
          'could not keep what was pulled through'
        )
      })
    }

    return {
      origin,
      kept,
      again: async (digest, signal) => ({
        digest,
        origin: origin(digest, { ask: true }),
        isPrivate: await upstream.isPrivate(signal)
      }),
      wanted: createWanted({
        upstream,
        near,
        origin,
        kept,
        sizeOf: (digest) => named.get(key(digest))?.size
      }),

      async tag(tag, local, signal) {
        const seen = await seenTags.get(domain, repository, tag)
        if (seen === undefined || seen.digest !== local) return { digest: local }
        const age = Date.now() - seen.at
        if (upstream.policy.offline || (age >= 0 && age < upstream.policy.ttlMs)) return { digest: local }
        const why = quiet.get(key(tag))
        if (why !== undefined) return { digest: local, stale: why }
        const late = AbortSignal.timeout(PATIENCE_MS)
        try {
          const patient = AbortSignal.any([signal, late])
          return await unlessMissing(key(tag), 'MANIFEST_UNKNOWN', () =>
            checking(key(tag), patient, (shared) => track(checked(tag, seen, shared)))
          )
        } catch (error) {
          signal.throwIfAborted()
          if (!late.aborted || error !== late.reason) throw error
          const slow = `${domain} did not answer within ${PATIENCE_MS} ms`
          quiet.set(key(tag), slow)
          log.warn({ domain, repository, tag }, 'an upstream is slow, so what is here is served')
          return { digest: local, stale: slow }
        }
      },

      async manifest(reference, signal) {
        const what = key(reference.kind === 'tag' ? reference.tag : reference.digest)
        const just = latest.get(what)
        if (just !== undefined) return just
        const content = await unlessMissing(what, 'MANIFEST_UNKNOWN', () =>
          fetching(what, signal, (shared) => track(fetched(reference, shared)))
        )
        latest.set(what, content)
        return content
      },

      referrers: (subject, signal) =>
        referrers.of(upstream, `${repository} ${subject}`, signal, (shared) =>
          upstream.referrers(repository, subject, shared)
        ),

      tags: (signal) =>
        tagLists.of(upstream, repository, signal, (shared) => upstream.tags(repository, shared))
    }
  }

  return {
    of({ place, repository }) {
      const upstream = place.kind === 'domain' ? upstreams.of(place.domain) : undefined
      return upstream && repositoryOf(upstream, upstream.domain, repository)
    },
    pushed: (domain, repository, tags) =>
      upstreams.of(domain) === undefined
        ? []
        : tags.map((tag) => seenTags.row(domain, repository, tag, undefined)),
    async stop() {
      stopped = true
      const ended = new RegistryError('UNAVAILABLE', 'the gateway is stopping')
      fetching.stop(ended)
      checking.stop(ended)
      referrers.stop(ended)
      tagLists.stop(ended)
      await Promise.all(running)
    }
  }
}
