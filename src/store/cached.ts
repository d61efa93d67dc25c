import { type IndexDb, type IndexWrite, prefixEnd, rowKey } from './index-db.ts'

/**
 * What says that a blob is cached, that is, came from elsewhere to be read (a blob without one was pushed): its
 * size, and when it was used last (epoch ms).
 */
export interface CachedRow {
  readonly size: number
  readonly used: number
}

/** The key of a blob's {@link CachedRow}. */
export const cachedKey = (sha256: Uint8Array): Uint8Array => rowKey('c', sha256)

/** The row itself: size and time, 6 bytes each. */
export function cachedRow(sha256: Uint8Array, { size, used }: CachedRow): IndexWrite {
  const value = Buffer.alloc(12)
  value.writeUIntBE(size, 0, 6)
  value.writeUIntBE(Math.max(0, Math.floor(used)), 6, 6)
  return { type: 'put', key: cachedKey(sha256), value }
}

/** The inverse of {@link cachedRow}. */
export function decodeCached(value: Uint8Array): CachedRow {
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  return { size: view.readUIntBE(0, 6), used: view.readUIntBE(6, 6) }
}

/** The rows of all cached blobs, by their sha256, for one who asks for them in ascending order. */
export function cachedInOrder(db: IndexDb): {
  /** The row of `sha256`, which must come after all that were asked for before. */
  at(sha256: Uint8Array): Promise<CachedRow | undefined>
  close(): Promise<void>
} {
  const from = rowKey('c')
  const rows = db.iterator({ gte: from, lt: prefixEnd(from) })
  let page: [Uint8Array, Uint8Array][] = []
  let next = 0
  let ended = false
  return {
    async at(sha256) {
      while (!ended) {
        const row = page[next]
        if (row === undefined) {
          page = await rows.nextv(256)
          next = 0
          ended = page.length === 0
          continue
        }
        const order = Buffer.compare(row[0].subarray(1), sha256)
        if (order > 0) return undefined
        next++
        if (order === 0) return decodeCached(row[1])
      }
      return undefined
    },
    close: () => rows.close()
  }
}
