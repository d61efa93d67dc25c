/** Former roots of a tree: as many are remembered as it takes to know one that is still published. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { MAX_PAST } from '../../src/registry/collect-past.ts'
import { rawCid } from '../../src/store/index.ts'
import { pastKey } from '../../src/tree/index.ts'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('former roots of a tree', function () {
  this.timeout(60_000)
  let server: RegistryServer
  let client: OciClient
  const signal = new AbortController().signal
  const domain = 'past.example.com'

  beforeEach(async () => {
    server = await startRegistryServer({ collect: { keepRoots: 2, graceMs: 0 } })
    client = ociClient(server)
  })
  afterEach(() => server.stop())

  const rootNow = async (): Promise<CID> => (await server.registry.root(domain)) as CID
  const known = async (root: CID | string) =>
    (await server.store.records.get(pastKey(domain, root))) !== undefined
  const madeUp = (i: number) => rawCid(createHash('sha256').update(`${i}`).digest())
  const collect = (dryRun = false) => server.registry.collect({ dryRun, signal })

  /** As if the tree had been at so many other roots, a minute each, the last one `ago` minutes ago. */
  async function wasAt(count: number, ago: number): Promise<void> {
    const rows = Array.from({ length: count }, (_, i): [string, Uint8Array] => {
      const at = new Date(Date.now() - (ago + i) * 60_000).toISOString()
      return [pastKey(domain, madeUp(i)), Buffer.from(JSON.stringify({ at }))]
    })
    for (let at = 0; at < rows.length; at += 1000)
      await server.store.blocks.commit([], rows.slice(at, at + 1000))
  }

  async function remembered(): Promise<number> {
    let count = 0
    for await (const _ of server.store.records.list(pastKey(domain, ''))) count++
    return count
  }

  it('are all remembered while they are few', async () => {
    for (const tag of ['1', '2', '3']) await client.image(`${domain}/app`, tag)
    await wasAt(100, 5)
    await server.registry.root(domain) // with its image layouts in step
    const before = await remembered()
    await collect()
    assert.equal(await remembered(), before)
  })

  it('go when they are many, the oldest first, and a dry run leaves them', async () => {
    await client.image(`${domain}/app`, '1')
    await wasAt(MAX_PAST + 500, 5)
    await collect(true)
    assert.equal(await remembered(), MAX_PAST + 501)
    await collect()
    assert.equal(await remembered(), MAX_PAST)
    assert.ok(await known(await rootNow()))
    assert.ok(await known(madeUp(MAX_PAST - 2)))
    assert.ok(!(await known(madeUp(MAX_PAST - 1))))
    await collect()
    assert.equal(await remembered(), MAX_PAST)
  })

  it('stay when they are published, however old they are', async () => {
    await client.image(`${domain}/app`, 'noted')
    const noted = await rootNow()
    await server.registry.history.note(domain, noted)
    await client.image(`${domain}/app`, 'published')
    const published = await server.publish(domain)
    // the name server said that there is nothing, at the first push
    await server.restart()
    await client.image(`${domain}/app`, 'between')
    const between = await rootNow()
    await client.expect(202, 'DELETE', `/v2/${domain}/app/manifests/published`)
    // what isn't here is looked for where the domain's records point
    const gone = () => client.call('GET', `/v2/${domain}/app/manifests/published`)
    assert.equal((await gone()).status, 404)
    const old = Buffer.from(JSON.stringify({ at: '2020-01-01T00:00:00.000Z' }))
    for (const root of [noted, published, between]) await server.store.records.put(pastKey(domain, root), old)
    await wasAt(MAX_PAST, 5)
    await collect()
    assert.deepEqual([await known(noted), await known(published), await known(between)], [true, true, false])
    assert.equal((await gone()).status, 404, 'what was deleted does not come back')
  })
})
