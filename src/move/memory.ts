import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, isDigest, splitDigest } from '../oci/digest.ts'
import { type Compression, compressionKey } from './compress.ts'
import type { ImageTarget } from './types.ts'

/** What is known of a layer that an engine keeps without compression. */
export interface KnownLayer {
  readonly diffId: Digest
  /** Its size without compression, in bytes, and the sha256 of its first {@link HEAD} bytes. */
  readonly plain: number
  readonly head: string
  /** What it was compressed into. */
  readonly digest: Digest
  readonly size: number
}

/**
 * Remembers what layers were compressed into, so that the next push neither compresses nor reads them again. It is a
 * cache: what is lost costs time, what is wrong is found by its digest.
 */
export interface LayerMemory {
  /** @param key how it was compressed */
  find(diffId: Digest, key: string): Promise<KnownLayer | undefined>
  note(layer: KnownLayer, key: string): Promise<void>
}

/** How much of a layer's beginning tells it from others of the same size, in bytes. */
export const HEAD = 64 * 1024

/** Layers that are remembered, about. */
const MOST = 20_000

type Row = Pick<KnownLayer, 'plain' | 'head'> & { as: Record<string, Pick<KnownLayer, 'digest' | 'size'>> }

/** One small file a layer in `folder`, so that any number of commands share it without a lock. */
export function createLayerMemory(folder: string): LayerMemory {
  const fileOf = (diffId: Digest) => join(folder, splitDigest(diffId).hex)

  async function read(diffId: Digest): Promise<Row | undefined> {
    try {
      const row = JSON.parse(await readFile(fileOf(diffId), 'utf8')) as Row
      const sound =
        typeof row.head === 'string' && Number.isSafeInteger(row.plain) && typeof row.as === 'object'
      return sound ? row : undefined
    } catch {
      return undefined
    }
  }

  return {
    async find(diffId, key) {
      const row = await read(diffId)
      const found = row?.as[key]
      if (row === undefined || found === undefined || !isDigest(found.digest)) return undefined
      const now = new Date()
      await utimes(fileOf(diffId), now, now).catch(() => undefined)
      return { diffId, plain: row.plain, head: row.head, digest: found.digest, size: found.size }
    },
    async note({ diffId, plain, head, digest, size }, key) {
      const before = await read(diffId)
      const row: Row = { plain, head, as: { ...before?.as, [key]: { digest, size } } }
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const part = join(folder, `.${randomUUID()}`)
      await writeFile(part, JSON.stringify(row))
      await rename(part, fileOf(diffId))
      if (Math.random() < 1 / 500) await forgetOldest(folder)
    }
  }
}

/** Layers of these that a target has as they were compressed before, in their order. */
export async function knownAt(
  target: ImageTarget,
  diffIds: readonly Digest[],
  { memory, compression, signal }: { memory: LayerMemory; compression: Compression; signal: AbortSignal }
): Promise<KnownLayer[]> {
  const key = compressionKey(compression)
  const found = await Promise.all(
    diffIds.map(async (diffId) => {
      const known = await memory.find(diffId, key)
      if (known === undefined) return []
      const there = (await target.hasBlob(known, signal)) || (await target.mount(known, signal))
      return there ? [known] : []
    })
  )
  return found.flat()
}

async function forgetOldest(folder: string): Promise<void> {
  const names = await readdir(folder)
  if (names.length <= MOST) return
  const files = await Promise.all(
    names.map(async (name) => ({
      name,
      at: (await stat(join(folder, name)).catch(() => undefined))?.mtimeMs ?? 0
    }))
  )
  files.sort((a, b) => a.at - b.at)
  for (const { name } of files.slice(0, names.length - MOST))
    await unlink(join(folder, name)).catch(() => undefined)
}
