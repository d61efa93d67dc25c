/** `kill -9` at any moment: what was answered is there, what was not leaves nothing half-visible. */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { randomBytes } from './support/tar.ts'
import { digestOf, refusalOf, repository } from './support/wire.ts'

const MiB = 1024 * 1024
const bytesOf = (size: number, seed: string): Buffer => Buffer.concat([...randomBytes(size, seed)])

describe('a gateway that is killed', function () {
  this.timeout(60_000)
  const { gateway } = useBed('restart')

  it('has everything that it acknowledged, by tag and byte for byte, and the same root', async () => {
    const first = await gateway('pushes')
    const pushed: { name: string; tag: string; manifest: string }[] = []
    for (let i = 0; i < 6; i++) {
      const name = `ships.example/app${i % 2}`
      const { manifest } = await repository(first.url, name).putImage(
        `t${i}`,
        bytesOf((i + 1) * 700_000, `${i}`)
      )
      pushed.push({ name, tag: `t${i}`, manifest })
    }
    const root = await first.root('ships.example')
    await first.kill()
    const again = await gateway('pushes')
    assert.equal(await again.root('ships.example'), root)
    assert.deepEqual(
      again.peers.map((peer) => peer.split('/p2p/')[1]),
      first.peers.map((peer) => peer.split('/p2p/')[1])
    )
    for (const { name, tag, manifest } of pushed)
      assert.equal((await repository(again.url, name).readImage(tag))[0], manifest)
  })

  it('in the midst of many pushes loses none of those that were answered', async () => {
    const first = await gateway('busy')
    const answered: { name: string; manifest: string }[] = []
    let going = true
    const pushers = Array.from({ length: 6 }, async (_, who) => {
      for (let i = 0; going; i++) {
        const name = `${who % 2 ? 'ships' : 'docks'}.example/p${who}`
        const pushed = await repository(first.url, name)
          .putImage(`t${i}`, bytesOf(200_000, `${who} ${i}`))
          .catch(() => undefined) // it was killed meanwhile
        if (pushed === undefined) return
        answered.push({ name, manifest: pushed.manifest })
        if (answered.length >= 60) {
          going = false
          await first.kill()
        }
      }
    })
    await Promise.all(pushers)
    const again = await gateway('busy')
    for (const { name, manifest } of answered)
      assert.equal((await repository(again.url, name).readImage(manifest))[0], manifest)
    // Whatever tag is visible is whole, also where its push was never answered.
    const { repositories } = (await (await fetch(`${again.url}/v2/_catalog`)).json()) as {
      repositories: string[]
    }
    for (const name of repositories) {
      const { tags } = (await (await fetch(`${again.url}/v2/${name}/tags/list`)).json()) as { tags: string[] }
      for (const tag of tags) await repository(again.url, name).readImage(tag)
    }
  })

  it('goes on with an upload where the last acknowledged chunk ended', async () => {
    const bytes = bytesOf(5 * MiB, 'upload')
    const first = await gateway('upload')
    const location = await repository(first.url, 'ships.example/app').begin()
    const taken = await repository(first.url, 'x').append(location, bytes.subarray(0, 3 * MiB))
    assert.equal(taken.status, 202)
    await first.kill()
    const again = await gateway('upload')
    const there = location.replace(first.url, again.url)
    const status = await fetch(there)
    assert.equal(status.status, 204)
    assert.equal(status.headers.get('range'), `0-${3 * MiB - 1}`)
    const repo = repository(again.url, 'ships.example/app')
    const digest = await digestOf(bytes)
    assert.equal((await repo.finish(there, digest, bytes.subarray(3 * MiB))).status, 201)
    assert.equal(await repo.blobDigest(digest), digest)
  })

  it('in mid-chunk keeps a beginning of it that the client can go on from, and no blob', async () => {
    const bytes = bytesOf(6 * MiB, 'cut')
    const digest = await digestOf(bytes)
    const first = await gateway('cut')
    const location = await repository(first.url, 'app').begin()
    const body = new ReadableStream<Uint8Array>({
      start: (out) => out.enqueue(bytes.subarray(0, 4 * MiB)) // and never the rest
    })
    const cut = fetch(location, { method: 'PATCH', body, duplex: 'half' })
    cut.catch(() => {}) // awaited below
    await new Promise((resolve) => setTimeout(resolve, 300))
    await first.kill()
    await assert.rejects(cut)
    const again = await gateway('cut')
    const repo = repository(again.url, 'app')
    assert.equal((await refusalOf(await repo.getBlob(digest))).code, 'BLOB_UNKNOWN')
    const there = location.replace(first.url, again.url)
    const [, last = ''] = ((await fetch(there)).headers.get('range') ?? '').split('-')
    // `0-0` is both one byte and none; no chunk ends after one byte here.
    const from = last === '0' ? 0 : Number(last) + 1
    assert.ok(from <= 4 * MiB)
    assert.equal((await repo.finish(there, digest, bytes.subarray(from))).status, 201)
    assert.equal(await repo.blobDigest(digest), digest)
  })
})
