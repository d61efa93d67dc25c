import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { DirectRegistry } from '../upstream/direct.ts'
import type { Upload } from '../upstream/uploads.ts'
import { asMoveError } from './refusal.ts'
import { type BlobId, type ImageStore, MAX_SMALL, MoveError, Refused, WrongContent } from './types.ts'
import { wholeBlob } from './verify.ts'

/** How often what breaks off is begun again, and the first wait before that, in milliseconds; it doubles. */
const TRIES = 4
const WAIT_MS = 200

/** One repository of a registry, or of a gateway. */
export interface RegistryAccess {
  readonly registry: DirectRegistry
  readonly repository: string
  /** How it is called for people. */
  readonly name: string
}

/** A registry's repository as a place of images. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md */
export function createRegistryStore({ registry, repository, name }: RegistryAccess): ImageStore {
  const { uploads } = registry
  /** Repositories of this registry that are known to have a blob: it may be mounted from there. */
  const had = hadAt(registry)

  const said = (error: unknown) => asMoveError(error, name, registry.server.url.host)
  const say = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw said(error)
    })

  async function has(path: string, signal: AbortSignal): Promise<boolean> {
    return (await say(uploads.sizeOf(repository, path, signal))) !== undefined
  }

  /** Begins an upload; `undefined` where the blob could be mounted instead. */
  async function begin(blob: BlobId | undefined, signal: AbortSignal): Promise<Upload | undefined> {
    const from = blob === undefined ? undefined : had.get(blob.digest)
    const mount = blob && { digest: blob.digest, from: from === repository ? undefined : from }
    const upload = await say(
      uploads.begin(repository, mount, signal).catch((error: unknown) => {
        signal.throwIfAborted()
        // where it may not be read, or is no more
        if (mount?.from === undefined) throw error
        had.delete(mount.digest)
        return uploads.begin(repository, undefined, signal)
      })
    )
    if (upload === undefined && blob !== undefined) had.set(blob.digest, repository)
    return upload
  }

  return {
    name,
    tags: (signal) => say(registry.allTags(repository, signal)),
    async manifest(reference, signal) {
      const { digest, mediaType, bytes } = await say(registry.manifest(repository, reference, signal))
      for (const blob of readManifest(bytes, mediaType).blobs) had.set(blob.digest, repository)
      return { digest, mediaType, bytes }
    },

    async *read(blob, at, signal) {
      try {
        yield* registry.blob(repository, blob.digest, blob.size).read(at, signal)
      } catch (error) {
        throw said(error)
      }
    },

    referrers: (digest, signal) => say(registry.referrers(repository, digest, signal)),
    async hasBlob({ digest }, signal) {
      const found = await has(`blobs/${digest}`, signal)
      if (found) had.set(digest, repository)
      return found
    },
    hasManifest: (digest, signal) => has(`manifests/${digest}`, signal),

    async write(blob, read, signal) {
      const first = await begin(blob, signal)
      if (first === undefined) return
      let upload: Upload = first
      try {
        for (let tries = 1, at = 0; ; tries++) {
          try {
            if (at < blob.size || at === 0)
              upload = await say(uploads.send(upload, read(at), { at, end: blob.size }, signal))
            await say(uploads.commit(upload, blob.digest, signal))
            had.set(blob.digest, repository)
            return
          } catch (error) {
            signal.throwIfAborted()
            const forgotten = error instanceof Refused && error.unknown
            const final = (error instanceof Refused && !forgotten) || error instanceof WrongContent
            if (final || tries >= TRIES) throw error
            await sleep(WAIT_MS * 2 ** tries, undefined, { signal })
            // what has arrived stays there
            const status = forgotten ? undefined : await say(uploads.arrived(upload, signal))
            if (status === undefined) {
              const again = await begin(blob, signal)
              if (again === undefined) return
              upload = again
              at = 0
            } else {
              at = status.at
              upload = status.upload
            }
          }
        }
      } catch (error) {
        await uploads.cancel(upload)
        throw error
      }
    },

    async mount(blob, signal) {
      const upload = await begin(blob, signal)
      if (upload === undefined) return true
      await uploads.cancel(upload)
      return false
    },

    async smallBlob(digest, signal) {
      const size = await say(uploads.sizeOf(repository, `blobs/${digest}`, signal))
      if (size === undefined || !(size <= MAX_SMALL)) return undefined
      return wholeBlob(this, { digest, size }, signal)
    },

    async writeStream(content, signal) {
      const hash = createHash('sha256')
      let size = 0
      let upload = await begin(undefined, signal)
      if (upload === undefined) throw new MoveError(`${name} does not say where an upload goes on`)
      const counted = async function* () {
        for await (const chunk of content) {
          hash.update(chunk)
          size += chunk.length
          yield chunk
        }
      }
      try {
        upload = await say(uploads.send(upload, counted(), undefined, signal))
        const digest = `sha256:${hash.digest('hex')}` as Digest
        await say(uploads.commit(upload, digest, signal))
        had.set(digest, repository)
        return { digest, size }
      } catch (error) {
        await uploads.cancel(upload)
        throw error
      }
    },

    putManifest: (manifest, tag, signal) =>
      say(uploads.putManifest(repository, tag ?? manifest.digest, manifest, signal))
  }
}

/** How many blobs are remembered of a registry. */
const MAX_HAD = 100_000

const KNOWN = new WeakMap<DirectRegistry, Map<Digest, string>>()

/** Which repository of a registry has a blob, as far as this process has seen. */
function hadAt(registry: DirectRegistry): Map<Digest, string> {
  const found = KNOWN.get(registry) ?? new Map<Digest, string>()
  if (found.size > MAX_HAD) found.clear()
  KNOWN.set(registry, found)
  return found
}
