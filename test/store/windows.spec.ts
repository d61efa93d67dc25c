import assert from 'node:assert/strict'
import { type Readable, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { digestOf } from '../../src/oci/digest.ts'
import { type BlobInfo, openStore, type Store } from '../../src/store/index.ts'
import { borrowWindow, mayReadAhead } from '../../src/store/windows.ts'
import { waitFor } from '../e2e/support/daemon.ts'
import { collectGarbage } from '../support/collect-garbage.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024

describe('memory that blobs are read into', () => {
  const folder = tempFolder()
  let store: Store
  const contents = [1, 2, 3].map((seed) => seededBytes(5 * MiB + seed * 100_001, seed))
  const blobs: BlobInfo[] = []

  before(async () => {
    store = await openStore({ folder: folder.path, reserve: 0 })
    for (const [i, bytes] of contents.entries()) {
      const writer = store.incoming.create(`test-${i}`)
      await writer.append(bytes)
      blobs.push(await store.blobs.commit(writer, digestOf(bytes)))
    }
  })
  after(async () => {
    await store.close()
    await folder.remove()
  })

  const blob = (i: number) => blobs[i % blobs.length] as BlobInfo
  const content = (i: number, start = 0) => (contents[i % contents.length] as Buffer).subarray(start)

  /** Keeps a copy of each piece, which is looked at as late as it may be: when it says that it has it. */
  function sink() {
    const got: Buffer[] = []
    const to = new Writable({
      write(chunk: Buffer, _, done) {
        setImmediate(() => {
          got.push(Buffer.from(chunk))
          done()
        })
      }
    })
    return { to, got }
  }

  /** Takes `most` pieces and no more, and keeps none. */
  function stopping(most: number): Writable {
    let taken = 0
    return new Writable({
      write(_chunk, _, done) {
        if (taken++ < most) setImmediate(done)
      }
    })
  }

  async function whole(i: number, start = 0): Promise<void> {
    const { to, got } = sink()
    await pipeline(await store.blobs.read(blob(i), { start, end: blob(i).size - 1 }), to)
    assert.ok(Buffer.concat(got).equals(content(i, start)), `blob ${i} from ${start}`)
  }

  /** Streams whose client has stopped after `pieces`. */
  async function stalled(count: number, pieces: number): Promise<{ stream: Readable; to: Writable }[]> {
    const all: { stream: Readable; to: Writable }[] = []
    for (let i = 0; i < count; i++) {
      const stream = await store.blobs.read(blob(i))
      const to = stopping(pieces)
      stream.pipe(to)
      stream.on('error', () => {})
      all.push({ stream, to })
    }
    await waitFor('all to have stopped', async () => all.every(({ to }) => to.writableLength > 0))
    return all
  }

  async function leave(all: { stream: Readable; to: Writable }[]): Promise<void> {
    for (const { stream, to } of all) {
      to.destroy()
      stream.destroy()
    }
    await Promise.all(all.map(({ stream }) => finished(stream).catch(() => undefined)))
  }

  it('belongs to one reader at a time, wherever each begins', async () => {
    const starts = [0, 1, MiB - 1, MiB, 3 * MiB + 7]
    await Promise.all(Array.from({ length: 60 }, (_, i) => whole(i, starts[i % starts.length])))
  })

  it('is not given to others while those who go away in the middle still use it', async () => {
    for (let round = 0; round < 5; round++) {
      const all = await stalled(10, round)
      const others = Promise.all(Array.from({ length: 20 }, (_, i) => whole(i)))
      await leave(all)
      await others
    }
  })

  it('is bounded for clients that stand still, and none of it stays with those who left', async () => {
    await whole(0)
    const inUse = () => {
      collectGarbage()
      return process.memoryUsage().external
    }
    const before = inUse()
    const all = await stalled(100, 1)
    const grown = inUse() - before
    // 256 KiB each, a leaf for twelve, and a second buffer for some
    assert.ok(grown < 100 * 0.25 * MiB + 12 * MiB + 8 * MiB, `${grown}`)
    assert.equal(mayReadAhead(), false)
    await whole(1)
    await leave(all)
    assert.equal(mayReadAhead(), true)
    const first = Array.from({ length: 12 }, () => borrowWindow(MiB))
    assert.deepEqual(new Set(first.map(({ buffer }) => buffer.length)), new Set([MiB]))
    const rest = Array.from({ length: 19 }, () => borrowWindow(MiB))
    assert.equal(mayReadAhead(), true)
    rest.push(borrowWindow(MiB))
    assert.equal(mayReadAhead(), false)
    for (const { release } of [...first, ...rest]) release()
  })
})
