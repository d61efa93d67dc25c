/** TTLs of records that are right but for that: changed where one was asked for and the zone can be read. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createLog } from '../../src/log.ts'
import { createPublishing } from '../../src/registry/publishing.ts'
import { rawCid } from '../../src/store/index.ts'
import { type CloudflareApi, startCloudflareApi } from '../support/cloudflare-api.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { memoryRecords } from '../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

const DOMAIN = 'ships.example.com'
const ADDRESS = '/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'
const ROOT = rawCid(new Uint8Array(32).fill(1))

describe('the TTL of published records', () => {
  const folder = tempFolder()
  const token = join(folder.path, 'token')
  let dns: DnsServer
  let api: CloudflareApi

  before(async () => void (dns = await startDnsServer()))
  after(async () => {
    await dns.stop()
    await folder.remove()
  })
  beforeEach(async () => {
    api = await startCloudflareApi(['example.com'])
    await writeFile(token, api.token)
    add(`_dnslink.${DOMAIN}`, `dnslink=/ipfs/${ROOT}`)
    add(DOMAIN, `ipfsnode=${JSON.stringify([ADDRESS])}`)
  })
  afterEach(() => api.stop())

  const add = (name: string, text: string): void =>
    void api.add({ name, type: 'TXT', content: JSON.stringify(text), ttl: 86_400 })
  const ttls = (): number[] => api.records.map(({ ttl }) => ttl)

  /** Publishes, and says what came of it. */
  async function publish(request: { ttl?: number; dryRun?: boolean } = {}, setting: { ttl?: string } = {}) {
    const way = { way: 'cloudflare', options: { token, api: api.url, ...setting } }
    const publishing = createPublishing({
      trees: { root: async () => ROOT, had: async () => true },
      places: { published: async () => undefined },
      records: memoryRecords() as never,
      settings: {
        publishers: new Map([[DOMAIN, way]]),
        dnsServers: [dns.address],
        dnsTimeoutMs: 5000,
        execTimeoutMs: 1000,
        afterMs: 10
      },
      addresses: () => [ADDRESS],
      log: createLog('silent')
    })
    const { signal } = new AbortController()
    return publishing.publish({ domain: DOMAIN, ...request }, { signal, report: () => undefined })
  }

  it('is changed when another one is asked for, and then agrees', async () => {
    assert.equal((await publish({ ttl: 60, dryRun: true })).outcome, 'printed')
    const { outcome, advice } = await publish({ ttl: 60 })
    assert.equal(outcome, 'published')
    assert.ok(!advice.join().includes('give it'), 'it has been given')
    assert.deepEqual(ttls(), [60, 60])
    assert.equal((await publish({ ttl: 60 })).outcome, 'unchanged')
    assert.equal((await publish({ ttl: 5 })).outcome, 'unchanged', 'as low as the way can go')
    assert.equal((await publish({}, { ttl: '120' })).outcome, 'published')
    assert.deepEqual(ttls(), [120, 120])
  })

  it('is left as it is when none is asked for', async () => {
    const { outcome, advice } = await publish()
    assert.equal(outcome, 'unchanged')
    assert.match(advice.join(), /has a TTL of 86400 s: .*; give it 60 s/)
    assert.deepEqual(ttls(), [86_400, 86_400])
  })

  it('is that of the others at the name', async () => {
    add(DOMAIN, 'v=spf1 -all')
    assert.equal((await publish({ ttl: 60 })).outcome, 'published')
    assert.deepEqual(
      ttls().toSorted((a, b) => a - b),
      [60, 86_400, 86_400]
    )
    assert.equal((await publish({ ttl: 60 })).outcome, 'unchanged')
  })
})
