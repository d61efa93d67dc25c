import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createLog } from '../../src/log.ts'
import { createMeters } from '../../src/registry/index.ts'
import { manifest, OCI_CONFIG, type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { seededBytes } from '../support/temp.ts'

const MB = 1_000_000
const forever = new AbortController().signal

describe('usage', () => {
  let server: RegistryServer
  let client: OciClient
  const usage = (of?: string) => server.registry.usage(of, forever, () => {})

  beforeEach(async () => {
    server = await startRegistryServer({
      limits: { store: 10 * MB, domains: new Map([['one.example', 4 * MB]]) }
    })
    client = ociClient(server)
  })
  afterEach(() => server.stop())

  /** An image over the same base each time. */
  async function push(name: string, tag: string, own: number): Promise<number> {
    const config = await client.blob(name, '{"os":"linux"}', OCI_CONFIG)
    const base = await client.blob(name, seededBytes(2 * MB, 1))
    const top = await client.blob(name, seededBytes(own, own))
    const made = manifest({ config, layers: [base, top] })
    await client.put(name, made, tag)
    return config.size + base.size + own + made.size
  }

  it('tells what was pushed, what is on disk, and what keeping each blob once saves', async () => {
    const pushed = [
      await push('one.example/a', 'v1', 100_000),
      await push('one.example/a', 'v2', 200_000),
      await push('one.example/b', 'v1', 300_000)
    ]
    await push('two.example/c', 'v1', 400_000)
    const report = await usage()
    const [a, b, c] = report.repositories
    assert.ok(a && b && c)
    assert.deepEqual([a.name, b.name, c.name], ['one.example/a', 'one.example/b', 'two.example/c'])
    assert.deepEqual([a.images, a.tags, a.asPushed], [2, 2, (pushed[0] ?? 0) + (pushed[1] ?? 0)])
    assert.equal(a.saved, 2 * MB + '{"os":"linux"}'.length)
    const [one, two] = report.domains
    assert.ok(one && two)
    assert.equal(
      one.asPushed,
      pushed.reduce((x, y) => x + y, 0)
    )
    assert.ok(one.onDisk > 2.6 * MB && one.onDisk < 2.61 * MB, String(one.onDisk))
    assert.equal(one.saved, one.asPushed - one.onDisk)
    assert.equal(one.percent, 65)
    assert.ok(report.store.used > 3 * MB && report.store.used < 3.01 * MB)
    assert.equal(report.store.pushed, report.store.used)
    assert.ok(report.store.free > 0 && report.store.index > 0)
    assert.deepEqual(report.warnings, [])
  })

  it('is of one domain or one repository where that is asked for', async () => {
    await push('one.example/a', 'v1', 100_000)
    await push('two.example/c', 'v1', 400_000)
    assert.deepEqual(
      (await usage('two.example')).repositories.map(({ name }) => name),
      ['two.example/c']
    )
    const one = await usage('one.example/a')
    assert.deepEqual([one.domains.length, one.repositories.length], [0, 1])
    await assert.rejects(usage('three.example'), { code: 'NAME_UNKNOWN' })
  })

  it('warns from 80 % of a limit on', async () => {
    await push('one.example/a', 'v1', 1_500_000)
    const { warnings } = await usage()
    assert.deepEqual(warnings, ['one.example is at 87 % of its limit'])
  })

  it('counts what clients send and get, by repository', async () => {
    await push('one.example/a', 'v1', 100_000)
    const before = (await usage('one.example/a')).repositories[0]
    assert.ok(before)
    assert.ok(
      before.today.fromClients > 2.1 * MB && before.today.fromClients < 2.2 * MB,
      String(before.today.fromClients)
    )
    const digest = (await client.blob('one.example/a', seededBytes(MB, 7))).digest
    for (let i = 0; i < 3; i++) await client.expect(200, 'GET', `/v2/one.example/a/blobs/${digest}`)
    const after = (await usage('one.example/a')).repositories[0]
    assert.ok(after)
    const sent = after.today.toClients - before.today.toClients
    assert.ok(sent > 3 * MB && sent < 3.1 * MB, String(sent))
    assert.deepEqual(after.month, after.today)
    await server.restart()
    client = ociClient(server)
    assert.deepEqual((await usage('one.example/a')).repositories[0]?.today, after.today)
  })

  it('gives no row to names that nobody has', async () => {
    for (let i = 0; i < 5; i++) await client.call('GET', `/v2/strange.example/n${i}/manifests/latest`)
    const owners: string[] = []
    for await (const [owner] of server.registry.meters.read('day', forever)) owners.push(owner.domain)
    assert.deepEqual(owners, [''])
  })

  it('is no use of what it counts', async () => {
    await push('one.example/a', 'v1', 100_000)
    const { uses } = server.store
    const since = performance.now()
    const { domains } = await usage()
    assert.equal(domains.length, 1)
    assert.deepEqual([...uses.since(since)], [])
  })

  it('tells of the rest when a manifest is damaged', async () => {
    await push('one.example/a', 'v1', 100_000)
    const config = await client.blob('one.example/a', '{}', OCI_CONFIG)
    // large enough to be in a file of its own
    const large = manifest({ config, layers: [], annotations: { a: 'x'.repeat(200_000) } })
    await client.put('one.example/a', large, 'v2')
    await push('two.example/c', 'v1', 400_000)
    const hex = large.digest.slice('sha256:'.length)
    await writeFile(join(server.folder, 'blobs', hex.slice(0, 2), hex), large.bytes.fill(0x20, 100, 200))
    const { domains, repositories } = await usage()
    assert.deepEqual(
      [...domains, ...repositories].map(({ name, images, incomplete = false }) => [name, images, incomplete]),
      [
        ['one.example', 2, true],
        ['two.example', 1, false],
        ['one.example/a', 2, true],
        ['two.example/c', 1, false]
      ]
    )
    assert.ok((repositories[0]?.asPushed ?? 0) > 2.1 * MB)
  })

  it('asks nobody for a tree that is partly elsewhere, and says what it lacks', async () => {
    const publisher = await startRegistryServer({ dns: server.dns })
    try {
      await ociClient(publisher).image('ships.example/a', 'v1')
      await publisher.publish('ships.example')
      await push('ships.example/b', 'v1', 100_000)
    } finally {
      await publisher.stop()
    }
    await push('one.example/a', 'v1', 100_000)
    await server.restart({ limits: { store: undefined, domains: new Map([['*', 4 * MB]]) } })
    const { domains, repositories } = await usage()
    assert.deepEqual(
      domains.map(({ name, incomplete = false }) => [name, incomplete]),
      [
        ['one.example', false],
        ['ships.example', true]
      ]
    )
    const own = repositories.find(({ name }) => name === 'ships.example/b')
    assert.deepEqual([own?.images, own?.incomplete], [1, undefined])
    assert.ok((domains[1]?.onDisk ?? 0) > 2.1 * MB)
    // limits are counted in the same way
    client = ociClient(server)
    await client.blob('ships.example/b', seededBytes(MB, 7))
    await assert.rejects(client.blob('ships.example/b', seededBytes(2 * MB, 8)), /DENIED/)
  })

  it('lists what was only pulled', async () => {
    await push('three.example/a', 'v1', 3 * MB)
    await server.publish('three.example')
    const other = await startRegistryServer({ dns: server.dns })
    try {
      const reader = ociClient(other)
      await reader.image('zebra.example/b', 'v1')
      await reader.expect(200, 'GET', '/v2/three.example/a/manifests/v1')
      const told = async (of?: string) => {
        const { domains, repositories } = await other.registry.usage(of, forever, () => {})
        return [domains.map(({ name }) => name), repositories.map(({ name }) => name)]
      }
      assert.deepEqual(await told(), [
        ['zebra.example', 'three.example'],
        ['zebra.example/b', 'three.example/a']
      ])
      assert.deepEqual(await told('three.example'), [['three.example'], ['three.example/a']])
      assert.deepEqual(await told('three.example/a'), [[], ['three.example/a']])
      await assert.rejects(told('three.example/b'), { code: 'NAME_UNKNOWN' })
    } finally {
      await other.stop()
    }
  })

  it('counts what comes from peers and goes to them', async () => {
    await push('three.example/a', 'v1', 3 * MB)
    await server.publish('three.example')
    const other = await startRegistryServer({ dns: server.dns })
    try {
      const reader = ociClient(other)
      const image = await reader.expect(200, 'GET', '/v2/three.example/a/manifests/v1')
      for (const { digest } of image.json<{ layers: { digest: string }[] }>().layers)
        await reader.expect(200, 'GET', `/v2/three.example/a/blobs/${digest}`)
      let came = 0
      for await (const [owner, traffic] of other.registry.meters.read('day', forever))
        if (owner.repository === 'a') came += traffic.fromPeers
      assert.equal(came, 5 * MB)
    } finally {
      await other.stop()
    }
  })
})

describe('meters', () => {
  let server: RegistryServer
  before(async () => {
    server = await startRegistryServer()
  })
  after(() => server.stop())

  it('begin anew each day and month, and forget old ones', async () => {
    let time = Date.parse('2026-01-31T23:59:50Z')
    const meters = createMeters({ store: server.store, log: createLog('silent'), now: () => time })
    const owner = { domain: 'x.example', repository: 'app' }
    const toClients = async (period: 'day' | 'month') => {
      let all = 0
      for await (const [, traffic] of meters.read(period, forever)) all += traffic.toClients
      return all
    }
    meters.add(owner, { toClients: 5 })
    meters.add(owner, { toClients: 6 })
    assert.deepEqual([await toClients('day'), await toClients('month')], [11, 11])
    time += 86_400_000
    meters.add(owner, { toClients: 1 })
    assert.deepEqual([await toClients('day'), await toClients('month')], [1, 1])
    time += 86_400_000
    meters.add(owner, { toClients: 2 })
    assert.deepEqual([await toClients('day'), await toClients('month')], [2, 3])
    time = Date.parse('2027-06-01T00:00:00Z')
    meters.add(owner, { toClients: 4 })
    await meters.flush()
    const kept: string[] = []
    for await (const [key] of server.store.records.list('meter/'))
      kept.push(key.slice(6, 18).replace(/\/.*/, ''))
    assert.equal(kept.length, 2)
    await meters.stop()
  })
})
