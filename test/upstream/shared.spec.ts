import assert from 'node:assert/strict'
import { createShared } from '../../src/upstream/index.ts'

describe('shared work', () => {
  it('is done once, and each waits as long as it likes', async () => {
    const share = createShared<number>()
    const gate = Promise.withResolvers<number>()
    let times = 0
    let inner: AbortSignal | undefined
    const work = (signal: AbortSignal) => {
      times++
      inner = signal
      return gate.promise
    }
    const first = new AbortController()
    const one = share('a', first.signal, work)
    const two = share('a', new AbortController().signal, work)
    first.abort(new Error('gone'))
    await assert.rejects(one, /gone/)
    assert.equal(inner?.aborted, false)
    gate.resolve(7)
    assert.equal(await two, 7)
    assert.equal(times, 1)
  })

  it('ends when nobody waits', async () => {
    const share = createShared<number>()
    const leaving = new AbortController()
    let inner: AbortSignal | undefined
    const one = share('a', leaving.signal, (signal) => {
      inner = signal
      return new Promise(() => {})
    })
    leaving.abort(new Error('gone'))
    await assert.rejects(one, /gone/)
    assert.equal(inner?.aborted, true)
    assert.equal(await share('a', new AbortController().signal, async () => 2), 2)
  })
})
