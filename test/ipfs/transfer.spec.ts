import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestOf } from '../../src/oci/digest.ts'
import { testGateway } from '../support/ipfs-gateway.ts'
import { addFile, content, forever, PATIENT, PROFILES } from '../support/ipfs-nodes.ts'
import { all, startTransferBed, type TransferBed } from '../support/transfer-bed.ts'

const MiB = 1024 * 1024
const LINGER = 150

describe('ipfs: a blob on its way into the store', () => {
  let bed: TransferBed

  beforeEach(async () => {
    bed = await startTransferBed(PATIENT, LINGER)
  })
  afterEach(() => bed.stop())

  /** Ends the peer altogether: no other way is left. */
  const cutOff = () => bed.server.ipfs.stop()
  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    for (const end = Date.now() + 5000; !(await condition()); await sleep(10))
      assert.ok(Date.now() < end, 'in vain')
  }

  it('is one transfer for all who want it, whenever they come', async () => {
    const bytes = content(6 * MiB + 5)
    const cid = await addFile(bed.server.store, bytes)
    const hold = Promise.withResolvers<void>()
    bed.gateway.sending = async (index) => {
      if (index === 4) await hold.promise
      return undefined
    }
    const first = all((await bed.open(cid, digestOf(bytes))).read())
    await until(() => bed.gateway.sent >= 4)
    const second = all((await bed.open(cid, digestOf(bytes))).read())
    const part = all((await bed.open(cid, digestOf(bytes))).read({ start: MiB - 1, end: 5 * MiB }))
    hold.resolve()
    assert.deepEqual(await first, bytes)
    assert.deepEqual(await second, bytes)
    assert.deepEqual(await part, bytes.subarray(MiB - 1, 5 * MiB + 1))
    assert.equal(bed.gateway.requests.length, 1)
    assert.equal(bed.gateway.sent, 8)
    const { done } = await bed.open(cid, digestOf(bytes))
    await done(forever())
    assert.equal((await bed.store.blobs.stat(digestOf(bytes)))?.cid.toString(), cid.toString())
  })

  it('bytes are passed on as they are verified, but for the last piece', async () => {
    const bytes = content(3 * MiB)
    const cid = await addFile(bed.server.store, bytes)
    const hold = Promise.withResolvers<void>()
    bed.gateway.sending = async (index) => {
      if (index === 3) await Promise.race([hold.promise, sleep(10_000, undefined, { ref: false })])
      return undefined
    }
    let size = 0
    let before = 0
    for await (const piece of (await bed.open(cid, digestOf(bytes))).read()) {
      size += (piece as Uint8Array).length
      if (bed.gateway.sent < 4) before = size
      if (size === 2 * MiB) hold.resolve()
    }
    assert.equal(before, 2 * MiB)
    assert.equal(size, 3 * MiB)
  })

  for (const size of [1000, MiB, 3 * MiB, 3 * MiB + 9]) {
    it(`other content than the digest says (${size} bytes) is never given whole, and nothing of it is kept`, async () => {
      const bytes = content(size)
      const cid = await addFile(bed.server.store, bytes)
      const digest = digestOf(Buffer.from('what the tree promises'))
      const transfer = await bed.open(cid, digest)
      let got = 0
      await assert.rejects(
        async () => {
          for await (const piece of transfer.read()) got += (piece as Uint8Array).length
        },
        { code: 'SOURCE_FAILED', message: /other content/ }
      )
      assert.ok(got < size)
      assert.equal(await bed.store.blobs.stat(digest), undefined)
      assert.equal(await bed.store.blobs.stat(digestOf(bytes)), undefined)
      assert.deepEqual(await bed.store.incoming.list(), [])
    })
  }

  it('what was verified before it ended is not fetched again', async () => {
    const bytes = content(6 * MiB + 5)
    const cid = await addFile(bed.server.store, bytes)
    const hold = Promise.withResolvers<void>()
    bed.gateway.sending = async (index) => {
      if (index === 5) await hold.promise
      return undefined
    }
    const reader = (await bed.open(cid, digestOf(bytes))).read()[Symbol.asyncIterator]()
    await reader.next()
    await until(async () => (await bed.store.incoming.list())[0]?.size === 4 * MiB)
    await reader.return?.()
    await sleep(LINGER * 3)
    hold.reject(new Error('that answer is over'))
    bed.gateway.sending = async () => undefined
    bed.gateway.sent = 0
    assert.deepEqual(await all((await bed.open(cid, digestOf(bytes))).read()), bytes)
    assert.deepEqual(
      bed.gateway.requests.map((url) => /entity-bytes=.*/.exec(url)?.[0]),
      [undefined, `entity-bytes=${4 * MiB}:*`]
    )
    // the root, two leaves and the rest
    assert.equal(bed.gateway.sent, 4)
  })

  it('goes on with a peer that could not be asked yet when those that could be fail', async () => {
    const bytes = content(6 * MiB + 5)
    const cid = await addFile(bed.server.store, bytes)
    const late = testGateway(bed.server.store)
    const http = createServer((request, answer) => late.handler(request, answer))
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = http.address() as AddressInfo
      const connect = (addresses: readonly string[]) => bed.ipfs.connect(addresses, { signal: forever() })
      const first = await connect(bed.server.ipfs.addresses())
      let broken = false
      bed.gateway.sending = async (index) => {
        if (index !== 4) return undefined
        broken = true
        await cutOff()
        return undefined
      }
      const peers = async () => (broken ? connect([`/ip4/127.0.0.1/tcp/${port}/http`]) : first)
      const transfer = await bed.transfers.open({ cid, digest: digestOf(bytes), peers }, forever())
      assert.deepEqual(await all(transfer.read()), bytes)
      assert.ok(late.sent > 0)
    } finally {
      http.closeAllConnections()
      http.close()
    }
  })

  it('ends a while after its last client has gone, and keeps what it has', async () => {
    const bytes = content(8 * MiB)
    const cid = await addFile(bed.server.store, bytes)
    bed.gateway.sending = async (index) => {
      if (index > 3) await sleep(100)
      return undefined
    }
    const stream = (await bed.open(cid, digestOf(bytes))).read()
    for await (const _ of stream) break
    await sleep(LINGER + 250)
    const { sent } = bed.gateway
    await sleep(300)
    assert.ok(bed.gateway.sent <= sent + 1, `${bed.gateway.sent} blocks after ${sent}`)
    assert.ok(sent < 9)
    const [kept] = await bed.store.incoming.list()
    assert.ok((kept?.size ?? 0) >= 2 * MiB)
  })

  it('goes on for a client that comes back in time', async () => {
    const bytes = content(5 * MiB)
    const cid = await addFile(bed.server.store, bytes)
    bed.gateway.sending = async () => {
      await sleep(40)
      return undefined
    }
    for await (const _ of (await bed.open(cid, digestOf(bytes))).read()) break
    await sleep(LINGER / 3)
    const rest = await all(
      (await bed.open(cid, digestOf(bytes))).read({ start: 65_536, end: bytes.length - 1 })
    )
    assert.deepEqual(rest, bytes.subarray(65_536))
    assert.equal(bed.gateway.requests.length, 1)
  })

  for (const profile of ['unixfs-v0-2015', 'narrow dag-pb', 'narrow raw'] as const) {
    it(`${profile}: other chunkings are kept, and served onward block for block`, async () => {
      const bytes = content(PROFILES[profile].chunkSize * 7 + 5)
      const cid = await addFile(bed.server.store, bytes, profile)
      const transfer = await bed.open(cid, digestOf(bytes))
      assert.deepEqual(await all(transfer.read()), bytes)
      await transfer.done(forever())
      await cutOff()
      for (const name of new Set(bed.server.store.puts)) {
        const block = (await import('multiformats/cid')).CID.parse(name)
        assert.deepEqual(
          Buffer.from((await bed.store.blocks.find(block)) ?? []),
          Buffer.from(bed.server.store.peek(block)),
          name
        )
      }
    })
  }

  it('two blobs that fail and one that works do not get in each other’s way', async () => {
    const good = content(2 * MiB + 1)
    const cid = await addFile(bed.server.store, good)
    const bad = await addFile(bed.server.store, content(2 * MiB))
    const wrong = digestOf(Buffer.from('x'))
    const results = await Promise.allSettled([
      bed.open(bad, wrong).then((transfer) => all(transfer.read())),
      bed.open(cid, digestOf(good)).then((transfer) => all(transfer.read())),
      bed.open(cid, digestOf(good)).then((transfer) => all(transfer.read()))
    ])
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'fulfilled', 'fulfilled']
    )
    assert.equal(existsSync(bed.store.incoming.path(`pull-${bad}`)), false)
  })
})
