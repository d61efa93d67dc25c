import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { chunksOf } from '../../src/ipfs/chunks.ts'

describe('the chunks of a stream', () => {
  async function all(stream: Readable): Promise<string> {
    const found: Uint8Array[] = []
    for await (const chunk of chunksOf(stream)) found.push(chunk)
    return Buffer.concat(found).toString()
  }

  it('are its bytes', async () => {
    assert.equal(await all(Readable.from([Buffer.from('a'), Buffer.from('bc')])), 'abc')
  })

  it('end with an error when it is cut off', async () => {
    const stream = new Readable({ read() {} })
    const read = all(stream)
    stream.push('a')
    stream.destroy()
    await assert.rejects(read, /cut off/)
  })

  it('and when it was cut off before anybody read it', async () => {
    const failed = new Readable({ read() {} })
    failed.on('error', () => {})
    failed.destroy(new Error('reset'))
    await new Promise((resolve) => failed.once('close', resolve))
    await assert.rejects(all(failed), /reset/)
    const closed = new Readable({ read() {} })
    closed.destroy()
    await once(closed, 'close')
    await assert.rejects(all(closed), /cut off/)
  })
})
