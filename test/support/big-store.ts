/** Data folders with very many blobs, made by the store's own rows without waiting for the disk. */
import { randomBytes } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { blobPath, digestOfSha256, rowsOfBlob } from '../../src/store/blob-rows.ts'
import { LEAF_SIZE } from '../../src/store/dag.ts'
import { openStore } from '../../src/store/index.ts'
import { type IndexWrite, openIndexDb } from '../../src/store/index-db.ts'
import { recordKey } from '../../src/store/records.ts'

/** Rows that are written in one step. */
const BATCH = 20_000

/**
 * Adds `count` blobs of `size` bytes to the repository `local/many`, with all rows that such blobs have and files that
 * claim their size (they are sparse, and hold zeros: the digests are made up). Returns the digests.
 */
export async function addClaimedBlobs(data: string, count: number, size: number): Promise<string[]> {
  await (await openStore({ folder: data, reserve: 0 })).close()
  const db = await openIndexDb(join(data, 'index'))
  const digests: string[] = []
  let rows: IndexWrite[] = []
  try {
    for (let i = 0; i < count; i++) {
      const sha256 = randomBytes(32)
      const leaves = Array.from({ length: Math.ceil(size / LEAF_SIZE) }, () => randomBytes(32))
      const digest = digestOfSha256(sha256)
      digests.push(digest)
      const link = recordKey(`link/local/many\0${digest}`)
      const value = Buffer.from(JSON.stringify({ at: new Date().toISOString() }))
      rows.push(...rowsOfBlob({ size, sha256, leaves }, undefined, [{ type: 'put', key: link, value }]).rows)
      const path = blobPath(join(data, 'blobs'), sha256.toString('hex'))
      await mkdir(dirname(path), { recursive: true })
      const file = await open(path, 'w')
      await file.truncate(size)
      await file.close()
      if (rows.length < BATCH && i < count - 1) continue
      await db.batch(rows)
      rows = []
    }
  } finally {
    await db.close()
  }
  return digests
}
