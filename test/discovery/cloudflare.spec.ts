import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createCloudflarePublisher, readContent, writeContent } from '../../src/discovery/cloudflare.ts'
import { txtRecord } from '../../src/discovery/index.ts'
import {
  type Publisher,
  type RecordChange,
  type RecordSet,
  ZoneChanged
} from '../../src/discovery/publish.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { freePort } from '../e2e/support/daemon.ts'
import { type CloudflareApi, startCloudflareApi } from '../support/cloudflare-api.ts'
import { tempFolder } from '../support/temp.ts'

const signal = new AbortController().signal
const facts = { domain: 'ships.example.com', root: 'bafy', previous: undefined }
const [LINK, BARE] = ['_dnslink.ships.example.com', 'ships.example.com']

const changes = (link: string, peers = '["/ip4/192.0.2.1/tcp/4001"]', ttl = 60): RecordChange[] => [
  { name: LINK, prefix: 'dnslink=', record: txtRecord(LINK, `dnslink=${link}`, ttl) },
  { name: BARE, prefix: 'ipfsnode=', record: txtRecord(BARE, `ipfsnode=${peers}`, ttl) }
]

describe("publishing through Cloudflare's API", () => {
  const folder = tempFolder()
  const tokenFile = join(folder.path, 'token')
  let api: CloudflareApi

  const publisher = (more: { zone?: string; tokenFile?: string } = {}, timeoutMs = 5000): Publisher =>
    createCloudflarePublisher({ tokenFile, zone: undefined, api: api.url, ...more }, { timeoutMs })
  const read = (by: Publisher): Promise<readonly RecordSet[]> =>
    by.read?.([LINK, BARE], { signal }) as Promise<RecordSet[]>
  const write = async (by: Publisher, what: RecordChange[], seen?: readonly RecordSet[]): Promise<void> =>
    by.write(what, { seen: seen ?? (await read(by)), facts, signal })
  const contents = (name: string): string[] =>
    api.records.filter((each) => each.name === name).map(({ content }) => content)
  const refusal = async (work: Promise<unknown>): Promise<RegistryError> => {
    try {
      await work
    } catch (error) {
      assert.ok(error instanceof RegistryError, String(error))
      return error
    }
    throw new Error('not refused')
  }

  beforeEach(async () => {
    api = await startCloudflareApi(['example.com', 'other.example'])
    await writeFile(tokenFile, `${api.token}\n`)
  })
  afterEach(() => api.stop())
  after(() => folder.remove())

  it('finds the zone above the name, adds, replaces in one batch, and leaves other records alone', async () => {
    api.add({ name: BARE, type: 'TXT', content: '"v=spf1 -all"', ttl: 300 })
    api.add({ name: BARE, type: 'A', content: '192.0.2.7', ttl: 300 })
    await write(publisher(), changes('/ipfs/one'))
    assert.deepEqual(contents(LINK), ['"dnslink=/ipfs/one"'])
    api.requests.splice(0)
    await write(publisher(), changes('/ipfs/two'))
    assert.deepEqual(contents(LINK), ['"dnslink=/ipfs/two"'])
    assert.deepEqual(contents(BARE), [
      '"v=spf1 -all"',
      '192.0.2.7',
      '"ipfsnode=[\\"/ip4/192.0.2.1/tcp/4001\\"]"'
    ])
    assert.equal(api.requests.filter((each) => each.startsWith('POST')).length, 1)
  })

  it('takes a zone by name and by id, and keeps TTLs within what the API allows', async () => {
    await write(publisher({ zone: 'example.com' }), changes('/ipfs/one', undefined, 5))
    await write(publisher({ zone: api.zone('example.com') }), changes('/ipfs/two', undefined, 100_000))
    assert.deepEqual(
      api.records.map(({ ttl }) => ttl).toSorted((a, b) => a - b),
      [60, 86_400]
    )
  })

  it('writes and reads long values and every byte', async () => {
    const long = `ipfsnode=${JSON.stringify(['x'.repeat(600), 'ü"\\'])}`
    const content = writeContent(long)
    for (const part of content.match(/"(?:[^"\\]|\\.)*"/g) ?? []) assert.ok(part.length < 300)
    assert.equal(readContent(content), long)
    assert.equal(readContent('dnslink=/ipfs/bare'), 'dnslink=/ipfs/bare')
    await write(publisher(), changes('/ipfs/one', JSON.stringify(['y'.repeat(700)])))
    const [, bare] = await read(publisher())
    assert.equal(bare?.records[0]?.text, `ipfsnode=${JSON.stringify(['y'.repeat(700)])}`)
  })

  it('reads every page', async () => {
    for (let i = 0; i < 120; i++) api.add({ name: BARE, type: 'TXT', content: `"text ${i}"`, ttl: 300 })
    api.add({ name: BARE, type: 'TXT', content: '"ipfsnode=[]"', ttl: 300 })
    const [, bare] = await read(publisher())
    assert.equal(bare?.records.length, 121)
    assert.ok(bare?.records.some(({ text }) => text === 'ipfsnode=[]'))
  })

  it('waits as long as it is told when there are too many requests', async () => {
    api.limit(2, 0)
    await write(publisher(), changes('/ipfs/one'))
    assert.deepEqual(contents(LINK), ['"dnslink=/ipfs/one"'])
    api.limit(100, 3600)
    const late = await refusal(read(publisher({}, 500)))
    assert.equal(late.code, 'SOURCE_TIMEOUT')
    api.limit(100, 0)
    assert.equal((await refusal(read(publisher()))).code, 'TOOMANYREQUESTS')
  })

  it('two publishers at once: the second is told, and nothing of it is there', async () => {
    await write(publisher(), changes('/ipfs/zero'))
    const seen = await read(publisher())
    await write(publisher(), changes('/ipfs/one'), seen)
    assert.ok((await refusal(write(publisher(), changes('/ipfs/two'), seen))) instanceof ZoneChanged)
    assert.deepEqual(contents(LINK), ['"dnslink=/ipfs/one"'])
  })

  it('two first publishers at once: whoever sees it takes his own back', async () => {
    const seen = await read(publisher())
    api.beforeBatch(() => api.add({ name: LINK, type: 'TXT', content: '"dnslink=/ipfs/other"', ttl: 60 }))
    assert.ok((await refusal(write(publisher(), changes('/ipfs/one'), seen))) instanceof ZoneChanged)
    assert.deepEqual(contents(LINK), ['"dnslink=/ipfs/other"'])
  })

  it('a wrong token, a zone it may not see, an API that is not there: each is named, the token never', async () => {
    const wrong = join(folder.path, 'wrong')
    await writeFile(wrong, 'wrong-token')
    const denied = await refusal(read(publisher({ tokenFile: wrong })))
    assert.equal(denied.code, 'DENIED')
    assert.match(denied.message, /403 \(9109 "Invalid access token"\).*DNS:Edit/)
    assert.ok(!denied.message.includes('wrong-token'))
    assert.match(
      (await refusal(read(publisher({ zone: 'hidden.example' })))).message,
      /sees no zone "hidden\.example"/
    )
    assert.match(
      (await refusal(read(publisher({ tokenFile: join(folder.path, 'none') })))).message,
      /token file/
    )
    const nowhere = createCloudflarePublisher(
      { tokenFile, zone: undefined, api: `http://127.0.0.1:${await freePort()}` },
      { timeoutMs: 5000 }
    )
    assert.match((await refusal(read(nowhere))).message, /cannot be reached.*ECONNREFUSED/)
  })
})
