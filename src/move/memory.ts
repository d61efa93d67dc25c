import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, isDigest, splitDigest } from '../oci/digest.ts'
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
      // it isn't known, or what is kept of it is damaged: it is compressed again
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

/** What is known of layers that were compressed in a way, as `key` calls it. */
export async function remembered(
  memory: LayerMemory,
  diffIds: Iterable<Digest>,
  key: string
): Promise<KnownLayer[]> {
  const found = await Promise.all([...new Set(diffIds)].map((diffId) => memory.find(diffId, key)))
  return found.filter((known) => known !== undefined)
}

/** Those of some layers that a target has, or takes over from another repository of its registry. */
export async function thereAt(
  target: ImageTarget,
  layers: readonly KnownLayer[],
  signal: AbortSignal
): Promise<KnownLayer[]> {
  const there = await Promise.all(
    layers.map(async (known) => (await target.hasBlob(known, signal)) || target.mount(known, signal))
  )
  return layers.filter((_, i) => there[i])
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
