import assert from 'node:assert/strict'
import { createReplay } from '../../src/move/replay.ts'

/** Bytes 0, 1, 2, … in pieces of ten. */
async function* counting(length: number, fails = false): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < length; at += 10)
    yield Uint8Array.from({ length: Math.min(10, length - at) }, (_, i) => at + i)
  if (fails) throw new Error('cut short')
}

async function bytes(source: AsyncIterable<Uint8Array>, most = Number.POSITIVE_INFINITY): Promise<number[]> {
  const found: number[] = []
  for await (const chunk of source) {
    found.push(...chunk)
    if (found.length >= most) break
  }
  return found
}

describe('content that is sent again', () => {
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

  it('goes back by what is kept, and on with the rest', async () => {
    const seen: number[] = []
    const replay = createReplay(counting(95), 30, (chunk) => void seen.push(...chunk))
    assert.deepEqual(await bytes(replay.from(0), 50), range(0, 50))
    assert.equal(replay.size(), undefined)
    assert.deepEqual(await bytes(replay.from(23)), range(23, 95))
    assert.equal(replay.size(), 95)
    assert.deepEqual(await bytes(replay.from(70)), range(70, 95))
    assert.deepEqual(await bytes(replay.from(95)), [])
    await assert.rejects(bytes(replay.from(0)), /too far back/)
    assert.deepEqual(seen, range(0, 95), 'each byte was told of once')
  })

  it('a source that failed has not ended', async () => {
    const replay = createReplay(counting(20, true), 30, () => undefined)
    for (let tries = 0; tries < 2; tries++) await assert.rejects(bytes(replay.from(0)), /cut short/)
    assert.equal(replay.failed(), true)
    assert.equal(replay.size(), undefined)
  })
})
