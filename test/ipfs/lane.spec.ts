import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { Gateway } from '../../src/ipfs/gateway.ts'
import { openLane } from '../../src/ipfs/lane.ts'
import type { WireReader } from '../../src/ipfs/wire.ts'
import { rawCid } from '../../src/store/index.ts'

describe('ipfs: a lane', () => {
  const file = rawCid(createHash('sha256').update('file').digest())

  /** A lane over a connection that works until it is used, and then fails as a stream does that was reset just now. */
  async function laneOver(broken: 'send' | 'resume') {
    let reader: WireReader | undefined
    const connected = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<Error | undefined>()
    const refuse = (what: string) => {
      if (what === broken) throw new Error(`cannot ${what}: the stream was reset`)
    }
    const gateway: Pick<Gateway, 'name' | 'connect' | 'request'> = {
      name: 'a source',
      request: () => 'GET / HTTP/1.1\r\n\r\n',
      connect: async (given) => {
        reader = given
        setImmediate(connected.resolve)
        return { send: () => refuse('send'), resume: () => refuse('resume'), close: () => undefined }
      }
    }
    const lane = openLane({
      gateway: gateway as Gateway,
      file,
      down: undefined,
      dialMs: 1000,
      // nobody has room for any block
      blocks: { begin: () => undefined, end: () => undefined },
      onSegment: () => undefined,
      onEnd: ended.resolve
    })
    await connected.promise
    return { lane, reader: reader as unknown as WireReader, ended: ended.promise }
  }

  it('ends when its connection cannot be written to, and throws nothing at who asks', async () => {
    const { lane, ended } = await laneOver('send')
    lane.ask(0, 10)
    assert.match((await ended)?.message ?? '', /cannot send/)
  })

  it('ends when its connection cannot go on, and throws nothing at who has room again', async () => {
    const { lane, reader, ended } = await laneOver('resume')
    lane.ask(0, 10)
    // the beginning of an answer whose first block has no room yet
    const block = Buffer.from('file')
    const frame = Buffer.concat([Buffer.from([file.bytes.length + block.length]), file.bytes, block])
    const header = Buffer.from('a265726f6f7473806776657273696f6e01', 'hex')
    const body = Buffer.concat([Buffer.from([header.length]), header, frame])
    const head = `HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.car\r\nContent-Length: ${body.length}\r\n\r\n`
    const bytes = Buffer.concat([Buffer.from(head), body])
    for (let at = 0; at < bytes.length; ) {
      const room = reader.intake.room()
      if (room === undefined) break
      const n = Math.min(room.length, bytes.length - at)
      room.set(bytes.subarray(at, at + n))
      reader.intake.took(n)
      at += n
    }
    assert.equal(reader.intake.room(), undefined)
    lane.resume()
    assert.match((await ended)?.message ?? '', /cannot resume/)
  })
})
