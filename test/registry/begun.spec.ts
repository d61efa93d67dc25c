import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { begun } from '../../src/registry/begun.ts'

const forever = new AbortController().signal

async function all(body: Readable): Promise<string> {
  const found: Uint8Array[] = []
  for await (const chunk of body) found.push(chunk as Uint8Array)
  return Buffer.concat(found).toString()
}

describe('a body that has begun', () => {
  it('has lost none of its bytes', async () => {
    const body = Readable.from([Buffer.from('first '), Buffer.from('then more')], { objectMode: false })
    assert.equal(await all(await begun(body, forever)), 'first then more')
  })

  it('may be empty', async () => {
    assert.equal(await all(await begun(Readable.from([], { objectMode: false }), forever)), '')
  })

  it('is still to fail later on', async () => {
    async function* broken(): AsyncGenerator<Buffer> {
      yield Buffer.from('first')
      throw new Error('broke off')
    }
    const body = await begun(Readable.from(broken(), { objectMode: false, highWaterMark: 1 }), forever)
    await assert.rejects(all(body), /broke off/)
  })

  it('is none when it fails before', async () => {
    const body = new Readable({ read: () => body.destroy(new Error('nobody has it')) })
    await assert.rejects(begun(body, forever), /nobody has it/)
  })

  it('is none when the wait is over, and is closed', async () => {
    const body = new Readable({ read() {} })
    const over = new AbortController()
    const waiting = begun(body, over.signal)
    over.abort(new Error('the deadline'))
    await assert.rejects(waiting, /the deadline/)
    assert.ok(body.destroyed)
  })
})
