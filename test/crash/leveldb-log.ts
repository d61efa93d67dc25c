/**
 * The batches in a LevelDB log, for who wants to know what a crash would leave of an index.
 *
 * @see https://github.com/google/leveldb/blob/main/doc/log_format.md
 */

const BLOCK = 32_768
const HEADER = 7
const FULL = 1
const LAST = 4

/** One row that a batch puts (`value`) or deletes. */
export interface LogRow {
  readonly key: Buffer
  readonly value: Buffer | undefined
}

/** One batch, and where in the log it ends: it is on the disk when that many bytes are. */
export interface LogBatch {
  readonly end: number
  readonly rows: readonly LogRow[]
}

/** The whole batches in what follows the first `base` bytes of a log, where one ended. */
export function* readLog(rest: Buffer, base = 0): Generator<LogBatch> {
  let parts: Buffer[] = []
  for (let at = 0; at + HEADER <= rest.length; ) {
    const left = BLOCK - ((base + at) % BLOCK)
    if (left < HEADER) {
      at += left
      continue
    }
    const type = rest[at + 6] ?? 0
    const end = at + HEADER + rest.readUInt16LE(at + 4)
    if (type < FULL || type > LAST || end > rest.length) return
    parts.push(rest.subarray(at + HEADER, end))
    if (type === FULL || type === LAST) {
      yield { end: base + end, rows: rowsOf(Buffer.concat(parts)) }
      parts = []
    }
    at = end
  }
}

/** A batch is a sequence number (8 bytes), a count (4), and its rows. */
function rowsOf(batch: Buffer): LogRow[] {
  const rows: LogRow[] = []
  let at = 12
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = batch[at++] ?? 0
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }
  const bytes = (): Buffer => {
    const length = varint()
    at += length
    return batch.subarray(at - length, at)
  }
  for (let left = batch.readUInt32LE(8); left > 0; left--) {
    const put = batch[at++] === 1
    const key = bytes()
    rows.push({ key, value: put ? bytes() : undefined })
  }
  return rows
}
