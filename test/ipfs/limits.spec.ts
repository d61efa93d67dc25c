import assert from 'node:assert/strict'
import { createLimiter, createSeats, metered } from '../../src/ipfs/limits.ts'

describe('ipfs: limits', () => {
  async function* pieces(...sizes: number[]): AsyncGenerator<Uint8Array> {
    for (const size of sizes) yield new Uint8Array(size)
  }

  it('let through no more than a burst and the rate allow, whatever the sizes', async () => {
    const limiter = createLimiter(1_000_000)
    const begun = performance.now()
    let bytes = 0
    for await (const chunk of metered(pieces(1, 250_000, 30, 50_000, 100_000), limiter)) bytes += chunk.length
    // the last one may go on credit, and a tenth of a second's worth before anything is owed
    assert.ok(performance.now() - begun >= ((bytes - 100_000 - 100_000) / 1_000_000) * 1000)
    assert.equal(bytes, 400_031)
  })

  it('serve those who wait in the order in which they came', async () => {
    const limiter = createLimiter(1_000_000)
    const order: number[] = []
    await limiter.take(200_000)
    await Promise.all([30_000, 1, 20_000].map((size, i) => limiter.take(size).then(() => order.push(i))))
    assert.deepEqual(order, [0, 1, 2])
  })

  it('give back at once what was taken for nothing', async () => {
    const limiter = createLimiter(1000)
    // an hour's worth
    await limiter.take(3_600_000)
    const next = limiter.take(1)
    limiter.giveBack(3_600_000)
    await next
  })

  it('let go of those who are aborted, and of nobody else', async () => {
    const limiter = createLimiter(1_000_000)
    const gone = new AbortController()
    await limiter.take(300_000)
    const first = limiter.take(1e12, gone.signal)
    const second = limiter.take(1)
    gone.abort(new Error('went away'))
    await assert.rejects(first, /went away/)
    await second
    await assert.rejects(limiter.take(1, AbortSignal.abort(new Error('too late'))), /too late/)
  })

  it('without a rate hold up nobody', async () => {
    const limiter = createLimiter(undefined)
    await limiter.take(Number.MAX_SAFE_INTEGER)
    await limiter.take(1)
  })

  it('seat as many as there are seats, and one more when one has left', () => {
    const seats = createSeats(2)
    const leave = seats.enter('a')
    assert.ok(leave)
    assert.ok(seats.enter('b'))
    assert.equal(seats.enter('c'), undefined)
    leave()
    leave()
    assert.ok(seats.enter('c'))
    assert.equal(seats.enter('d'), undefined)
  })

  it('seat half as many of one address, and always another one', () => {
    const seats = createSeats(128)
    const fill = (address: string) => {
      const leaves: (() => void)[] = []
      for (let leave = seats.enter(address); leave !== undefined; leave = seats.enter(address))
        leaves.push(leave)
      return leaves
    }
    const first = fill('192.0.2.1')
    assert.equal(first.length, 65)
    assert.equal(fill('192.0.2.2').length, 32)
    assert.ok(seats.enter('192.0.2.3'))
    for (const leave of first) leave()
    assert.ok(fill('192.0.2.1').length > 32)
    assert.ok(createSeats(1).enter('192.0.2.1'))
  })
})
