import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { untilAborted } from '../../src/oci/waiting.ts'
import { unhandledIn } from '../support/unhandled.ts'

describe('waiting no longer than a signal allows', () => {
  const reason = new Error('nobody waits any more')

  it('gives what the work gives, or throws', async () => {
    const { signal } = new AbortController()
    assert.equal(await untilAborted(Promise.resolve(7), signal), 7)
    await assert.rejects(untilAborted(Promise.reject(new Error('failed')), signal), /failed/)
  })

  for (const when of ['before', 'while'] as const) {
    it(`ends with the signal's reason where it is aborted ${when} it waits, whatever becomes of the work`, async () => {
      const unhandled = await unhandledIn(async () => {
        const wait = new AbortController()
        const work = Promise.withResolvers<void>()
        if (when === 'before') wait.abort(reason)
        const waited = assert.rejects(untilAborted(work.promise, wait.signal), reason)
        if (when === 'while') wait.abort(reason)
        await waited
        work.reject(new Error('failed later'))
        await turn()
      })
      assert.deepEqual(unhandled, [])
    })
  }
})
