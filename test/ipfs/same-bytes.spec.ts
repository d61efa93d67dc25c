/** Trees of several chunkings that hold the same bytes: one file serves the leaves of all. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { digestOf } from '../../src/oci/digest.ts'
import { addFile, content, forever, PATIENT } from '../support/ipfs-nodes.ts'
import { all, startTransferBed, type TransferBed } from '../support/transfer-bed.ts'

const MiB = 1024 * 1024

describe('ipfs: the same bytes in other chunkings', function () {
  this.timeout(60_000)
  let bed: TransferBed

  before(async () => {
    bed = await startTransferBed(PATIENT, 100)
  })
  after(() => bed.stop())

  async function pull(cid: CID, digest: ReturnType<typeof digestOf>): Promise<Buffer> {
    const transfer = await bed.open(cid, digest)
    const bytes = await all(transfer.read() as AsyncIterable<Uint8Array>)
    await transfer.done(forever())
    return bytes
  }

  async function files(): Promise<string[]> {
    const parts = await readdir(join(bed.folder, 'blobs'))
    return (await Promise.all(parts.map((part) => readdir(join(bed.folder, 'blobs', part))))).flat()
  }

  /** Blocks that the store lacks, of those that were put into the server since there were `from`. */
  async function missing(from: number): Promise<string[]> {
    const lacking: string[] = []
    for (const name of new Set(bed.server.store.puts.slice(from))) {
      const cid = CID.parse(name)
      const found = await bed.store.blocks.find(cid)
      if (found === undefined || !Buffer.from(bed.server.store.peek(cid)).equals(found)) lacking.push(name)
    }
    return lacking
  }

  it('come in one, and are served in that one and in ours, out of one file', async () => {
    const bytes = content(3 * MiB + 5)
    const digest = digestOf(bytes)
    const from = bed.server.store.puts.length
    const foreign = await addFile(bed.server.store, bytes, 'unixfs-v0-2015')
    const ours = await addFile(bed.server.store, bytes)
    assert.notEqual(foreign.toString(), ours.toString())
    assert.ok((await pull(foreign, digest)).equals(bytes))
    assert.deepEqual(await missing(from), [])
    // The tree of the other chunking is read out of what is here, and a push of the same bytes adds nothing.
    const writer = bed.store.incoming.create('pushed')
    await writer.append(bytes)
    assert.equal((await bed.store.blobs.commit(writer, digest)).cid.toString(), ours.toString())
    assert.deepEqual(await missing(from), [])
    assert.deepEqual(await files(), [digest.slice(7)])
    assert.deepEqual(await bed.store.incoming.list(), [])
  })

  it('that are asked for at the same time come once, and end as one file', async () => {
    const bytes = content(2 * MiB + 9)
    const digest = digestOf(bytes)
    const before = await files()
    const cids = [
      await addFile(bed.server.store, bytes),
      await addFile(bed.server.store, bytes, 'unixfs-v0-2015')
    ]
    for (const each of await Promise.all(cids.map((cid) => pull(cid, digest)))) assert.ok(each.equals(bytes))
    assert.deepEqual(
      (await files()).filter((name) => !before.includes(name)),
      [digest.slice(7)]
    )
    assert.deepEqual(await bed.store.incoming.list(), [])
  })
})
