import assert from 'node:assert/strict'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { identity } from 'multiformats/hashes/identity'
import { sha256, sha512 } from 'multiformats/hashes/sha2'
import { readCar } from '../../src/ipfs/car.ts'
import { carFrame, carHeader } from '../support/ipfs-gateway.ts'
import { content } from '../support/ipfs-nodes.ts'

describe('ipfs: reading CARs', () => {
  async function named(bytes: Uint8Array): Promise<CID> {
    return CID.createV1(raw.code, await sha256.digest(bytes))
  }

  async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }

  async function read(car: Uint8Array, size = 1000): Promise<Map<string, Buffer>> {
    const blocks = new Map<string, Buffer>()
    let at = 0
    for await (const piece of readCar(inPieces(car, size))) {
      assert.equal(piece.at, at)
      const before = blocks.get(piece.cid.toString()) ?? Buffer.alloc(0)
      blocks.set(piece.cid.toString(), Buffer.concat([before, piece.data]))
      at = piece.last ? 0 : at + piece.data.length
    }
    assert.equal(at, 0)
    return blocks
  }

  for (const size of [1, 7, 1000, 1_000_000]) {
    it(`in chunks of ${size} bytes`, async () => {
      const blocks = [content(1), content(5000), new Uint8Array(), content(130)]
      const cids = await Promise.all(blocks.map(named))
      const root = cids[0] as CID
      const inline = CID.createV1(raw.code, identity.digest(Buffer.from('inline')))
      const car = Buffer.concat([
        carHeader(root),
        ...cids.map((cid, index) => carFrame(cid, blocks[index] as Uint8Array)),
        carFrame(inline, Buffer.from('inline'))
      ])
      const got = await read(car, size)
      assert.equal(got.size, 5)
      for (const [index, cid] of cids.entries()) {
        assert.deepEqual(got.get(cid.toString()), Buffer.from(blocks[index] as Uint8Array))
      }
    })
  }

  it('never passes a wrong block on whole', async () => {
    const bytes = content(5000)
    const cid = await named(bytes)
    const wrong = Buffer.from(bytes)
    wrong.writeUInt8((wrong.readUInt8(4999) + 1) % 256, 4999)
    let passed = 0
    const reading = (async () => {
      for await (const { data, last } of readCar(
        inPieces(Buffer.concat([carHeader(cid), carFrame(cid, wrong)]), 1000)
      )) {
        passed += data.length
        assert.equal(last, false)
      }
    })()
    await assert.rejects(reading, /sent a wrong block/)
    assert.ok(passed < 5000)
  })

  it('refuses what is none, what is cut and what is too large', async () => {
    const bytes = content(500)
    const cid = await named(bytes)
    const whole = Buffer.concat([carHeader(cid), carFrame(cid, bytes)])
    const other = CID.createV1(raw.code, await sha512.digest(bytes))
    const cases: [Uint8Array, RegExp][] = [
      [Buffer.alloc(0), /empty CAR/],
      [Buffer.from('<!doctype html>'.repeat(20)), /no CAR of version 1/],
      [Buffer.from([0x0a, ...Buffer.from('\u00a1gversion\u0002', 'latin1')]), /no CAR of version 1/],
      [Buffer.from([0xff, 0xff, 0x7f]), /header of 2097151 bytes/],
      [whole.subarray(0, 30), /in the middle/],
      [whole.subarray(0, -1), /in the middle/],
      [Buffer.concat([carHeader(cid), Buffer.from([0xff, 0xff, 0xff, 0x7f])]), /frame of 268435455 bytes/],
      [Buffer.concat([carHeader(cid), Buffer.alloc(12, 0xff)]), /impossible size/],
      [Buffer.concat([carHeader(cid), Buffer.from([3, 1, 2, 3])]), /without a CID/],
      [Buffer.concat([carHeader(cid), Buffer.from([0])]), /without a CID|in the middle/],
      [Buffer.concat([carHeader(cid), carFrame(other, bytes)]), /has the hash 0x13/]
    ]
    for (const [car, why] of cases) await assert.rejects(read(car), why)
    assert.equal((await read(whole)).size, 1)
  })
})
