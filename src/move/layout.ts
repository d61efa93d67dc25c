import { createReadStream } from 'node:fs'
import { open, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Digest, digestOf, hasher, splitDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { type Descriptor, readManifest } from '../oci/manifest.ts'
import { OCI_INDEX } from '../oci/media-types.ts'
import { makeFolders, replaceFile, syncFolder } from './files.ts'
import {
  blobPath,
  createLayoutSource,
  INDEX,
  type LayoutFiles,
  type LayoutIndex,
  readIndex
} from './layout-source.ts'
import { namesOf } from './tar-images.ts'
import { type BlobId, type ImageStore, MAX_SMALL, MoveError, WrongContent } from './types.ts'
import { verified } from './verify.ts'

const REF_NAME = 'org.opencontainers.image.ref.name'

/** Where content lies that is still arriving; a later command goes on with it. Hidden, and no part of a layout. */
const PARTS = '.seaway-parts'

/**
 * An OCI image layout in a folder: what `skopeo copy oci:` and `podman pull oci:` read. Blobs are checked as they
 * come in and have their name only when they are whole and on disk; `index.json` names an image when all of it is there.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 */
export function createLayoutStore(folder: string): ImageStore {
  const name = `oci:${folder}`
  const pathOf = (digest: Digest) => join(folder, blobPath(digest))
  const partOf = (digest: string) => join(folder, PARTS, digest.replace(':', '-'))
  let queue: Promise<unknown> = Promise.resolve()
  let streams = 0
  const arriving = new Map<Digest, Promise<void>>()

  const inFolder = (error: unknown): MoveError => {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOSPC')
      return new MoveError(`the disk of ${folder} is full: make room and try again; what is there stays`)
    return new MoveError(`${name}: ${reason(error)}`, { cause: error })
  }
  const guard = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw (error as NodeJS.ErrnoException).code === undefined || error instanceof MoveError
        ? error
        : inFolder(error)
    })

  const sizeOf = async (path: string) => (await stat(path).catch(() => undefined))?.size
  const files: LayoutFiles = {
    name,
    size: (path) =>
      guard(
        stat(join(folder, path)).then(
          (info) => info.size,
          (error: NodeJS.ErrnoException) => {
            if (error.code === 'ENOENT') return undefined
            throw error
          }
        )
      ),
    all: (path) => guard(readFile(join(folder, path))),
    from: (path, at, signal) =>
      createReadStream(join(folder, path), {
        start: at,
        highWaterMark: 1 << 20,
        signal
      }) as AsyncIterable<Uint8Array>
  }

  /** Gives a file that is whole its name, durably. */
  async function settle(part: string, digest: Digest): Promise<void> {
    const path = pathOf(digest)
    await makeFolders(dirname(path))
    await rename(part, path).catch(async (error: unknown) => {
      // another command may have brought the same content meanwhile
      if ((await sizeOf(path)) === undefined) throw error
    })
    await syncFolder(dirname(path))
  }

  /** Of several that bring the same content at once, one does. */
  async function once(digest: Digest, work: () => Promise<void>): Promise<void> {
    const before = arriving.get(digest)
    if (before !== undefined) return before
    const now = guard(work()).finally(() => arriving.delete(digest))
    arriving.set(digest, now)
    return now
  }

  async function fill(part: string, at: number, content: AsyncIterable<Uint8Array>): Promise<void> {
    const make = async () => {
      await makeFolders(dirname(part))
      return open(part, at > 0 ? 'r+' : 'w')
    }
    // another one that was the last may just have taken the folder away
    const file = await make().catch(make)
    try {
      let position = at
      for await (const chunk of content) {
        await file.write(chunk, 0, chunk.length, position)
        position += chunk.length
      }
      await file.truncate(position)
      await file.sync()
    } finally {
      await file.close()
    }
  }

  return {
    ...createLayoutSource(files),
    hasBlob: async ({ digest, size }) => (await sizeOf(pathOf(digest))) === size,
    hasManifest: async (digest) => (await sizeOf(pathOf(digest))) !== undefined,
    mount: () => Promise.resolve(false),
    async smallBlob(digest) {
      const size = await sizeOf(pathOf(digest))
      if (size === undefined || size > MAX_SMALL) return undefined
      const bytes = await readFile(pathOf(digest))
      return digestOf(bytes, splitDigest(digest).algorithm) === digest ? bytes : undefined
    },
    write: (blob, read) =>
      once(blob.digest, async () => {
        const part = partOf(blob.digest)
        const hash = hasher(splitDigest(blob.digest).algorithm)
        let at = Math.min((await sizeOf(part)) ?? 0, blob.size)
        if (at > 0) {
          for await (const chunk of createReadStream(part, { end: at - 1, highWaterMark: 1 << 20 }))
            hash.update(chunk as Buffer)
          if (at === blob.size) at = 0
        }
        const before = at > 0 ? { hash, size: at } : {}
        try {
          await fill(part, at, verified(blob, read(at), 'the source', before))
        } catch (error) {
          // what was checked against the digest of the whole, and was wrong, is of no use
          if (error instanceof WrongContent) await rm(part, { force: true })
          throw error
        }
        await settle(part, blob.digest)
      }),
    writeStream: (content) =>
      guard(
        (async () => {
          const part = join(folder, PARTS, `stream-${process.pid}-${streams++}`)
          const hash = hasher('sha256')
          let size = 0
          try {
            await fill(
              part,
              0,
              (async function* () {
                for await (const chunk of content) {
                  hash.update(chunk)
                  size += chunk.length
                  yield chunk
                }
              })()
            )
            const digest = `sha256:${hash.digest('hex')}` as const
            await settle(part, digest)
            return { digest, size } satisfies BlobId
          } catch (error) {
            await rm(part, { force: true })
            throw error
          }
        })()
      ),
    async putManifest({ digest, bytes, mediaType }, tag) {
      const write = async () => {
        const part = partOf(digest)
        await fill(
          part,
          0,
          (async function* () {
            yield bytes
          })()
        )
        await settle(part, digest)
        const before = await readIndex(files)
        // what has no name is found through the index that names it; alone it is a referrer or nameless
        const subject = readManifest(bytes, mediaType).subject
        if (tag === undefined && subject === undefined && before !== undefined) return
        if (tag === undefined && subject === undefined) return
        const descriptor: Descriptor = {
          mediaType,
          digest,
          size: bytes.length,
          ...(tag !== undefined && { annotations: { [REF_NAME]: tag } })
        }
        const others = (before?.manifests ?? []).filter((each) =>
          tag === undefined ? each.digest !== digest : !namesOf(each).some((one) => one === tag)
        )
        const next: LayoutIndex = {
          schemaVersion: 2,
          mediaType: OCI_INDEX,
          ...before,
          manifests: [...others, descriptor]
        }
        await replaceFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
        await replaceFile(join(folder, INDEX), JSON.stringify(next))
        // while other content arrives it isn't empty
        await rmdir(join(folder, PARTS)).catch(() => undefined)
      }
      // two images that finish at once must not forget each other
      const mine = queue.then(write, write)
      queue = mine.catch(() => undefined)
      await guard(mine)
    }
  }
}

/** Whether a folder is, or could become, a layout: it isn't there, is empty, or is one. */
export async function mayBeLayout(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENOENT') return []
    throw new MoveError(`${folder} cannot be read: ${reason(error)}`, { cause: error })
  })
  return names.length === 0 || names.includes('oci-layout') || names.includes(INDEX) || names.includes(PARTS)
}
