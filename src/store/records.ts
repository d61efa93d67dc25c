import { type IndexDb, type IndexWrite, prefixEnd, rowKey, type WriteRows } from './index-db.ts'

/**
 * Small durable values by key: roots, keys, last good answers. A value that was put is there after
 * `kill -9`; a missing key reads as `undefined`.
 */
export interface Records {
  get(key: string): Promise<Uint8Array | undefined>
  put(key: string, value: Uint8Array): Promise<void>
  delete(key: string): Promise<void>
  /** Keys that begin with `prefix`, in byte order, with their values. */
  list(prefix: string): AsyncIterable<[key: string, value: Uint8Array]>
}

/** The row of a record. */
export function recordKey(key: string): Uint8Array {
  return rowKey('r', Buffer.from(key))
}

/** The row that puts a record, or without a value removes it, for whoever writes it together with something else. */
export function recordRow(key: string, value: Uint8Array | undefined): IndexWrite {
  if (value === undefined) return { type: 'del', key: recordKey(key) }
  return { type: 'put', key: recordKey(key), value }
}

/** {@link Records} in the index. */
export function createRecords(db: IndexDb, write: WriteRows): Records {
  return {
    get: (key) => db.get(recordKey(key)),
    put: (key, value) => write([{ type: 'put', key: recordKey(key), value }]),
    delete: (key) => write([{ type: 'del', key: recordKey(key) }]),
    async *list(prefix) {
      const from = recordKey(prefix)
      for await (const [key, value] of db.iterator({ gte: from, lt: prefixEnd(from) })) {
        yield [Buffer.from(key.subarray(1)).toString(), value]
      }
    }
  }
}
