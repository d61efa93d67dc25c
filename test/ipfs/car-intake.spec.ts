import assert from 'node:assert/strict'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { createCarIntake } from '../../src/ipfs/car-intake.ts'
import { carSize, writeCar } from '../../src/ipfs/car-writer.ts'
import { offer } from '../../src/ipfs/intake.ts'
import { carFrame, carHeader } from '../support/ipfs-gateway.ts'
import { addFile, content, PROFILES, WatchedBlockstore } from '../support/ipfs-nodes.ts'

describe('ipfs: CARs straight into memory', () => {
  async function blocksOf(sizes: readonly number[]) {
    return Promise.all(
      sizes.map(async (size) => {
        const bytes = content(size)
        return { bytes, cid: CID.createV1(raw.code, await sha256.digest(bytes)) }
      })
    )
  }

  /** Reads a CAR in pieces; `ready` says whether the next block can be taken. */
  function read(car: Uint8Array, piece: number, ready: () => boolean = () => true, skip = new Set<string>()) {
    const blocks: { cid: string; bytes: Buffer }[] = []
    let current: { cid: string; bytes: Buffer } | undefined
    const intake = createCarIntake({
      begin(cid, size) {
        if (!ready()) return undefined
        current = skip.has(cid.toString()) ? undefined : { cid: cid.toString(), bytes: Buffer.alloc(size) }
        return current?.bytes ?? null
      },
      end() {
        if (current !== undefined) blocks.push(current)
      }
    })
    for (let at = 0; at < car.length; ) {
      const taken = offer(intake, car.subarray(at, at + piece))
      if (taken === 0) intake.room()
      at += taken
    }
    while (!intake.drained()) intake.room()
    intake.closed()
    return blocks
  }

  for (const piece of [1, 7, 300, 1_000_000]) {
    it(`in pieces of ${piece} bytes, held up now and then`, async () => {
      const given = await blocksOf([1, 5000, 0, 130, 70_000, 300])
      const car = Buffer.concat([
        carHeader(given[0]?.cid as CID),
        ...given.map(({ cid, bytes }) => carFrame(cid, bytes))
      ])
      let turn = 0
      const got = read(car, piece, () => ++turn % 3 === 0, new Set([given[3]?.cid.toString() ?? '']))
      const wanted = given.filter((_, i) => i !== 3)
      assert.deepEqual(
        got.map(({ cid }) => cid),
        wanted.map(({ cid }) => cid.toString())
      )
      for (const [i, { bytes }] of got.entries()) assert.ok(bytes.equals(wanted[i]?.bytes as Uint8Array))
    })
  }

  it('that breaks off in a block, a head or the header, or is none, is refused', async () => {
    const [one] = await blocksOf([500])
    assert.ok(one)
    const car = Buffer.concat([carHeader(one.cid), carFrame(one.cid, one.bytes)])
    for (const end of [0, 10, carHeader(one.cid).length + 5, car.length - 1])
      assert.throws(() => read(car.subarray(0, end), 64), { name: 'PeerFault' }, `${end} bytes`)
    assert.throws(() => read(Buffer.from('<html>not a CAR at all</html>'.repeat(400)), 64), {
      name: 'PeerFault'
    })
    const huge = Buffer.concat([carHeader(one.cid), Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f])])
    assert.throws(() => read(huge, 64), /frame of \d+ bytes/)
  })

  for (const profile of Object.keys(PROFILES) as (keyof typeof PROFILES)[]) {
    it(`${profile}: their length is known before they are written`, async () => {
      const store = new WatchedBlockstore()
      const { chunkSize } = PROFILES[profile]
      const root = await addFile(store, content(chunkSize * 9 + 5), profile)
      const blocks = { find: async (cid: CID) => store.peek(cid), openFile: async () => undefined }
      for (const bytes of [
        undefined,
        { from: 1, to: undefined },
        { from: chunkSize * 2, to: chunkSize * 4 - 1 },
        { from: -10, to: undefined }
      ]) {
        const request = { path: [root], scope: 'entity' as const, dups: true, ...(bytes && { bytes }) }
        let written = 0
        for await (const chunk of writeCar(blocks, request)) written += chunk.length
        assert.equal(await carSize(blocks, request), written)
      }
    })
  }
})
