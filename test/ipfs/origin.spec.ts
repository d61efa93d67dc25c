/** Blobs that come from outside of IPFS take the same way into the store. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Origin } from '../../src/ipfs/transfer.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { addFile, content, forever, PATIENT } from '../support/ipfs-nodes.ts'
import { all, startTransferBed, type TransferBed } from '../support/transfer-bed.ts'

const MiB = 1024 * 1024

describe('ipfs: a blob from an origin', () => {
  let bed: TransferBed
  const bytes = content(5 * MiB + 7)
  const digest = digestOf(bytes)

  beforeEach(async () => {
    bed = await startTransferBed(PATIENT, 100)
  })
  afterEach(() => bed.stop())

  /** An origin that sends `sent`, up to `until` at the first time. */
  function originOf(sent: Uint8Array, until = sent.length) {
    const asked: number[] = []
    let refuted = 0
    const origin: Origin = {
      what: 'the origin',
      size: async () => bytes.length,
      refuted: () => void refuted++,
      async *read(from) {
        asked.push(from)
        const end = asked.length === 1 ? until : sent.length
        for (let at = from; at < end; at += 100_000) yield sent.subarray(at, Math.min(end, at + 100_000))
        if (end < sent.length) throw new RegistryError('SOURCE_FAILED', 'the origin broke off')
      }
    }
    return { origin, asked, refuted: () => refuted }
  }

  it('is one transfer for all who want it', async () => {
    const { origin, asked } = originOf(bytes)
    const kept: number[] = []
    const wanted = { digest, origin, kept: ({ size }: { size: number }) => void kept.push(size) }
    const one = await bed.transfers.open(wanted, forever())
    const two = await bed.transfers.open(wanted, forever())
    const [first, second, part] = await Promise.all([
      all(one.read()),
      all(two.read()),
      all(two.read({ start: 3, end: 2 * MiB }))
    ])
    assert.deepEqual(first, bytes)
    assert.deepEqual(second, bytes)
    assert.deepEqual(part, bytes.subarray(3, 2 * MiB + 1))
    await one.done(forever())
    assert.deepEqual(asked, [0])
    assert.deepEqual(kept, [bytes.length])
  })

  it('goes on where it broke off, also when it is asked for the next time', async () => {
    const { origin, asked } = originOf(bytes, 2 * MiB + 5)
    const broken = await bed.transfers.open({ digest, origin }, forever())
    await assert.rejects(broken.done(forever()), /broke off/)
    const again = await bed.transfers.open({ digest, origin }, forever())
    await again.done(forever())
    assert.deepEqual(asked, [0, 2 * MiB + 5])
    assert.equal((await bed.store.blobs.stat(digest))?.size, bytes.length)
  })

  it('that is something else ends without its last piece, and leaves nothing', async () => {
    const wrong = Buffer.from(bytes)
    wrong[MiB] = (wrong[MiB] as number) ^ 1
    const { origin, refuted } = originOf(wrong)
    const transfer = await bed.transfers.open({ digest, origin }, forever())
    let got = 0
    await assert.rejects(async () => {
      for await (const piece of transfer.read()) got += (piece as Uint8Array).length
    }, /the origin holds as sha256:.* is other content/)
    assert.ok(got < bytes.length)
    assert.equal(refuted(), 1)
    assert.equal(await bed.store.blobs.stat(digest), undefined)
    assert.equal(existsSync(join(bed.folder, 'incoming', `pull-${digest.replace(':', '-')}`)), false)
  })

  it('comes from peers as far as they go', async () => {
    const cid = await addFile(bed.server.store, bytes)
    const hold = Promise.withResolvers<void>()
    bed.gateway.sending = async (index) => {
      if (index >= 4) await hold.promise
      return undefined
    }
    const { origin, asked } = originOf(bytes)
    const { done, read } = await bed.transfers.open(
      {
        digest,
        cid,
        origin,
        peers: async () => [(await import('@libp2p/peer-id')).peerIdFromString(bed.server.ipfs.peerId)]
      },
      forever()
    )
    const parts: Uint8Array[] = []
    for await (const piece of read()) {
      parts.push(Uint8Array.from(piece as Uint8Array))
      if (parts.length === 1) await bed.server.ipfs.stop()
    }
    hold.resolve()
    assert.deepEqual(Buffer.concat(parts), bytes)
    await done(forever())
    assert.equal(asked.length, 1)
    assert.ok((asked[0] as number) > 0, 'what a peer sent is not asked for again')
  })
})
