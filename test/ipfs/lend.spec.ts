import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { lend } from '../../src/ipfs/lend.ts'
import { type Pieces, streamOf } from '../../src/store/piece-stream.ts'

describe('ipfs: memory that is lent to a client', () => {
  /** Pieces that are overwritten when they are released. */
  function pieces(count: number, size: number) {
    const out = new Set<number>()
    let next = 0
    let closed = 0
    const from: Pieces = {
      async next() {
        if (next === count) return undefined
        const index = next++
        const data = Buffer.alloc(size, index + 1)
        out.add(index)
        return { data, release: () => (out.delete(index), data.fill(0), undefined) }
      },
      async close() {
        closed++
      }
    }
    return { from, out, closed: () => closed }
  }
  const expected = (count: number, size: number) =>
    Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(size, i + 1)))

  for (const size of [10, 300_000, 1_048_576]) {
    it(`is read as copies (pieces of ${size} bytes)`, async () => {
      const { from, out } = pieces(5, size)
      const got: Uint8Array[] = []
      for await (const chunk of streamOf(from)) got.push(chunk as Uint8Array)
      assert.ok(Buffer.concat(got).equals(expected(5, size)))
      assert.equal(out.size, 0)
    })

    for (const waits of [false, true]) {
      it(`is piped as it is, and given back when it was sent (pieces of ${size} bytes${waits ? ', after a wait for the first' : ''})`, async () => {
        const { from, out, closed } = pieces(5, size)
        const got: Buffer[] = []
        const sink = new Writable({
          write(chunk: Buffer, _, done) {
            // the bytes have to last until the callback
            setTimeout(() => {
              got.push(Buffer.from(chunk))
              done()
            }, 2)
          }
        })
        const stream = streamOf(from)
        if (waits) {
          const { promise, resolve } = Promise.withResolvers<void>()
          stream.once('readable', resolve)
          await promise
          stream.off('readable', resolve)
        }
        await pipeline(stream, sink)
        assert.ok(Buffer.concat(got).equals(expected(5, size)))
        assert.equal(out.size, 0)
        assert.equal(closed(), 1)
      })
    }
  }

  it('comes back when the client goes in the middle', async () => {
    const { from, out, closed } = pieces(50, 1000)
    let taken = 0
    const sink = new Writable({
      write(_chunk, _encoding, done) {
        if (++taken === 3) this.destroy(new Error('gone'))
        else setImmediate(done)
      }
    })
    await assert.rejects(pipeline(streamOf(from), sink), /gone/)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(out.size, 0)
    assert.equal(closed(), 1)
  })

  it('comes back when the client goes before the first piece is sent, of which a part was read', async () => {
    const { from, out } = pieces(5, 1_048_576)
    const stream = streamOf(from)
    await once(stream, 'readable')
    const sink = new Writable({
      write() {
        this.destroy(new Error('gone'))
      }
    })
    await assert.rejects(pipeline(stream, sink), /gone/)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(out.size, 0)
  })

  it('comes back when the reader goes while a piece is being fetched', async () => {
    const { from, out } = pieces(5, 1_048_576)
    const fetched = Promise.withResolvers<void>()
    const next = async () => {
      await fetched.promise
      return from.next()
    }
    const stream = streamOf({ ...from, next })
    stream.read()
    stream.destroy()
    fetched.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(out.size, 0)
  })

  it('is free when the last one has let go of it', () => {
    let freed = 0
    const leaf = lend({ offset: 0, data: new Uint8Array(1), release: () => void freed++ })
    leaf.hold()
    leaf.release()
    assert.equal(freed, 0)
    leaf.release()
    assert.equal(freed, 1)
  })
})
