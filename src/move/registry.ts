import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { DirectRegistry } from '../upstream/direct.ts'
import type { Upload } from '../upstream/uploads.ts'
import { asMoveError } from './refusal.ts'
import { createReplay } from './replay.ts'
import { listUnderTag } from './subject-tag.ts'
import { type BlobId, type ImageStore, MAX_SMALL, MoveError, Refused, WrongContent } from './types.ts'
import { wholeBlob } from './verify.ts'

/** How often what breaks off is begun again, and the first wait before that, in milliseconds; it doubles. */
const TRIES = 4
const WAIT_MS = 200

/** How much of content that comes once is kept, in bytes: what may be on its way when a connection breaks. */
const REPLAY = 16 * 1024 * 1024

/** A blob on its way. */
interface Sendable {
  readonly upload: Upload
  readonly read: (at: number) => AsyncIterable<Uint8Array>
  /** In bytes, once it is known. */
  readonly size: () => number | undefined
  /** Known once all was sent. */
  readonly digest: () => Digest
  /** Whether it can't be read on: no other try would help. */
  readonly failed?: () => boolean
  /** Begins another upload of it; `undefined` where that is not needed any more. */
  readonly again: () => Promise<Upload | undefined>
}

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

  let listing: Promise<unknown> = Promise.resolve()

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

  /** Sends a blob and makes it one. Where that breaks off it goes on with what has arrived, or begins again. */
  async function send(what: Sendable, signal: AbortSignal): Promise<void> {
    const { read, size, digest, again } = what
    let { upload } = what
    try {
      for (let tries = 1, at = 0; ; tries++) {
        try {
          if (at === 0 || at !== size()) {
            const end = size()
            const range = end === undefined ? undefined : { at, end }
            upload = await say(uploads.send(upload, read(at), range, signal))
          }
          await say(uploads.commit(upload, digest(), signal))
          had.set(digest(), repository)
          return
        } catch (error) {
          signal.throwIfAborted()
          const forgotten = error instanceof Refused && error.unknown
          const final = (error instanceof Refused && !forgotten) || error instanceof WrongContent
          if (final || what.failed?.() === true || tries >= TRIES) throw error
          await sleep(WAIT_MS * 2 ** tries, undefined, { signal })
          // what has arrived stays there
          const status = forgotten ? undefined : await say(uploads.arrived(upload, signal))
          if (status === undefined) {
            const anew = await again()
            if (anew === undefined) return
            upload = anew
            at = 0
          } else {
            if (status.at > at) tries = 0
            at = status.at
            upload = status.upload
          }
        }
      }
    } catch (error) {
      await uploads.cancel(upload)
      throw error
    }
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
      const upload = await begin(blob, signal)
      if (upload === undefined) return
      const again = () => begin(blob, signal)
      await send({ upload, read, size: () => blob.size, digest: () => blob.digest, again }, signal)
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
      const replay = createReplay(content, REPLAY, (chunk) => hash.update(chunk))
      let digest: Digest | undefined
      const sum = () => (digest ??= `sha256:${hash.digest('hex')}` as Digest)
      const again = () => begin(undefined, signal)
      const { from: read, size, failed } = replay
      try {
        const upload = await again()
        if (upload === undefined) throw new MoveError(`${name} does not say where an upload goes on`)
        await send({ upload, read, size, failed, digest: sum, again }, signal)
      } finally {
        replay.close()
      }
      return { digest: sum(), size: size() ?? 0 }
    },

    async putManifest(manifest, tag, signal) {
      const listed = await say(uploads.putManifest(repository, tag ?? manifest.digest, manifest, signal))
      const read = readManifest(manifest.bytes, manifest.mediaType)
      if (listed || read.subject === undefined) return
      // two that refer to the same must not forget each other
      const list = () => listUnderTag({ registry, repository }, manifest, read, signal)
      const mine = listing.then(list, list)
      listing = mine.catch(() => undefined) // its own caller hears of it
      await say(mine)
    }
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
