import { open } from 'node:fs/promises'
import type { CID } from 'multiformats/cid'
import { readFully } from '../store/files.ts'
import type { CarBlocks } from './car-writer.ts'

/** A file on its way into the store, as others may read it already: every byte of it has been verified. */
export interface LiveFile {
  /** Where its bytes are until it has ended. */
  readonly path: string
  /** How many bytes from the beginning are there. */
  written(): number
  /** Bytes from an offset to the file's end that are known besides. */
  tail(): { from: number; bytes: Uint8Array } | undefined
  /** It is in the store now, or has failed. */
  ended(): boolean
  /** Resolves when any of that has changed. */
  moved(): Promise<void>
}

const RAW = 0x55

/**
 * The blocks of a file that is still arriving: a leaf that hasn't come is waited for. Those who fetch the
 * same file pass it on from one to the next this way.
 *
 * @param options.stallMs how long a leaf is waited for while nothing arrives; then the reader is cut off, so
 *   that two who wait for each other both look elsewhere
 */
export function liveBlocks(
  blocks: Pick<CarBlocks, 'find'>,
  file: LiveFile,
  options: { stallMs: number }
): CarBlocks {
  async function fromFile(offset: number, length: number): Promise<Uint8Array | undefined> {
    if (offset + length <= file.written()) {
      const handle = await open(file.path, 'r').catch(() => undefined) // moved into the store just now
      if (handle === undefined) return undefined
      try {
        const bytes = Buffer.allocUnsafeSlow(length)
        return (await readFully(handle, bytes, offset)) === length ? bytes : undefined
      } finally {
        await handle.close()
      }
    }
    const tail = file.tail()
    if (tail === undefined || offset < tail.from) return undefined
    return tail.bytes.subarray(offset - tail.from, offset - tail.from + length)
  }

  return {
    // the store's own file isn't there yet
    openFile: async () => undefined,

    async find(cid, place) {
      for (;;) {
        const ended = file.ended()
        const moved = file.moved()
        const here =
          place !== undefined && cid.code === RAW && !ended
            ? await fromFile(place.offset, place.length)
            : undefined
        const bytes = here ?? (await blocks.find(cid))
        if (bytes !== undefined || ended) return bytes
        await within(options.stallMs, moved, cid)
      }
    }
  }
}

async function within(ms: number, moved: Promise<void>, cid: CID): Promise<void> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`block ${cid} did not arrive for ${ms} ms`)), ms)
  try {
    await Promise.race([moved, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
