import { LRUCache } from 'lru-cache'
import type { Ipfs } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Store } from '../store/index.ts'
import type { Place } from './places.ts'
import type { ManifestContent } from './pull.ts'

/** Manifests whose blobs are looked up at the same time, and blobs of one of them. */
const MANIFESTS = 4
const BLOBS = 64
const AT_ONCE = 4

/** How long that may take at most, in milliseconds: later it is of no more use. */
const LIMIT_MS = 10_000

/** How long a client that was given a manifest may take to ask for the next thing of it, in milliseconds. */
const GONE_MS = 2000

/** Reading ahead. */
export interface ReadAhead {
  /**
   * Whoever is given `manifest` comes for its blobs next. `signal` is that of the request: when it is aborted,
   * nobody is given it.
   */
  start(place: Place, name: string, manifest: ManifestContent, signal: AbortSignal): void
  /** Somebody has asked for something of this repository, so its client is still there. */
  asked(place: Place, name: string): void
  /** Ends all of it. */
  stop(): void
}

interface Run {
  readonly controller: AbortController
  readonly gone: NodeJS.Timeout
}

/**
 * Makes it: the way to each of a manifest's blobs is looked up in the tree, and its root node is fetched, so
 * that the blob's request begins with its first byte. Only those few blocks are fetched, not the blobs.
 *
 * It is bounded in number and time, and ends when the client goes: at once if that is in the middle of the
 * manifest's request, else when it has asked for nothing of the repository for {@link GONE_MS}, for a request
 * that has ended says nothing about who made it.
 */
export function createReadAhead(options: {
  store: Pick<Store, 'blobs'>
  ipfs: Pick<Ipfs, 'stat'>
  log: Log
}): ReadAhead {
  const { store, ipfs, log } = options
  const done = new LRUCache<string, true>({ max: 4096 })
  const runs = new Map<string, Set<Run>>()
  let running = 0

  /** @throws what the first look-up failed with, once all of them have ended */
  async function lookUp(
    place: Place,
    name: string,
    manifest: ManifestContent,
    signal: AbortSignal
  ): Promise<void> {
    const { blobs } = readManifest(manifest.bytes, manifest.mediaType)
    const wanted = [...new Set(blobs.map(({ digest }) => digest))].slice(0, BLOBS)
    const next = wanted.values()
    const failures: unknown[] = []
    const one = async (blob: Digest) => {
      if ((await store.blobs.stat(blob)) !== undefined) return
      await place.view.ahead(name, { blob }, signal)
      const link = await place.view.blob(blob, signal)
      if (link !== undefined)
        await ipfs.stat(link.cid, { peers: await place.peers(signal, link.cid), signal })
    }
    const work = async () => {
      for (const blob of next) {
        signal.throwIfAborted()
        await one(blob).catch((error: unknown) => failures.push(error))
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
    if (failures.length > 0) throw failures[0]
  }

  const repositoryOf = (place: Place, name: string) => `${place.view.root} ${name}`

  return {
    start(place, name, manifest, signal) {
      const key = `${place.view.root} ${manifest.digest}`
      if (running >= MANIFESTS || done.has(key) || signal.aborted) return
      done.set(key, true)
      running++
      const controller = new AbortController()
      const end = () => controller.abort(new Error('the client went away'))
      const run: Run = { controller, gone: setTimeout(end, GONE_MS) }
      const repository = repositoryOf(place, name)
      const others = runs.get(repository) ?? new Set()
      runs.set(repository, others.add(run))
      signal.addEventListener('abort', end, { once: true })
      lookUp(place, name, manifest, AbortSignal.any([controller.signal, AbortSignal.timeout(LIMIT_MS)]))
        .catch((error: unknown) => {
          // the next one who is given the manifest has it looked up again
          done.delete(key)
          log.debug({ digest: manifest.digest, cause: reason(error) }, 'could not read ahead')
        })
        .finally(() => {
          running--
          clearTimeout(run.gone)
          signal.removeEventListener('abort', end)
          others.delete(run)
          if (others.size === 0) runs.delete(repository)
        })
    },

    asked(place, name) {
      for (const { gone } of runs.get(repositoryOf(place, name)) ?? []) gone.refresh()
    },

    stop() {
      for (const all of runs.values())
        for (const { controller } of all) controller.abort(new Error('the gateway is stopping'))
    }
  }
}
