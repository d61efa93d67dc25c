import assert from 'node:assert/strict'
import {
  createDiscovery,
  type Discovery,
  type Published,
  type ResolveIpns
} from '../../src/discovery/index.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { calm, clock, KEY, log, memoryRecords, PEER, ROOT, ROOT2 } from './support.ts'

const NODE = `/ip4/192.0.2.1/tcp/4001/p2p/${PEER}`
const LINK = `dnslink=/ipfs/${ROOT}`

describe('discovery: from a domain to its root', () => {
  let dns: DnsServer
  let discovery: Discovery
  let time: ReturnType<typeof clock>
  let ipns: ResolveIpns | undefined
  const resolve = (domain: string): Promise<Published> => discovery.resolve(domain, { signal: calm() })
  const start = (): void => {
    const options = { servers: [dns.address], log, records: memoryRecords(), timeoutMs: 3000, now: time.now }
    discovery = createDiscovery(ipns === undefined ? options : { ...options, resolveIpns: ipns })
  }

  beforeEach(async () => {
    dns = await startDnsServer()
    time = clock()
    ipns = undefined
    start()
  })
  afterEach(async () => {
    await discovery.stop()
    await dns.stop()
  })

  it('reads dnslink at _dnslink and ipfsnode at the domain', async () => {
    dns.setTxt('_dnslink.example.com', [LINK], 60)
    dns.setTxt('example.com', ['v=spf1 -all', `ipfsnode=["${NODE}"]`], 30)
    const { root, ...rest } = await resolve('Example.COM')
    assert.equal(root.toString(), ROOT)
    assert.deepEqual(rest, {
      domain: 'example.com',
      path: '',
      providers: [NODE],
      expires: time.now() + 30_000,
      stale: false,
      problems: [],
      authenticated: false,
      chain: ['example.com', `/ipfs/${ROOT}`]
    })
    assert.equal(dns.queries.length, 2)
  })

  it('needs no ipfsnode', async () => {
    dns.setTxt('_dnslink.example.com', [LINK])
    assert.deepEqual((await resolve('example.com')).providers, [])
  })

  it('reads dnslink at the domain where _dnslink has no TXT record (test 2 of the specification)', async () => {
    dns.setTxt('example.com', [LINK, `ipfsnode=${NODE}`])
    const { root, providers } = await resolve('example.com')
    assert.deepEqual([root.toString(), providers], [ROOT, [NODE]])
  })

  it('prefers _dnslink, also when asked for by that name (tests 4 and 5)', async () => {
    dns.setTxt('example.com', [`dnslink=/ipfs/${ROOT2}`])
    dns.setTxt('_dnslink.example.com', [LINK])
    dns.setTxt('_dnslink._dnslink.example.com', [`dnslink=/ipfs/${ROOT2}`])
    assert.equal((await resolve('example.com')).root.toString(), ROOT)
    assert.equal((await resolve('_dnslink.example.com')).root.toString(), ROOT)
    assert.equal((await resolve('_dnslink._dnslink.example.com')).root.toString(), ROOT2)
  })

  it('does not fall back where _dnslink has other TXT records (test 3), and says so', async () => {
    dns.setTxt('example.com', [LINK])
    dns.setTxt('_dnslink.example.com', ['something=else'])
    await assert.rejects(resolve('example.com'), {
      code: 'NAME_UNKNOWN',
      message:
        /the record at example\.com does not count, because _dnslink\.example\.com has other TXT records/
    })
  })

  it('says what it looked for where there is nothing', async () => {
    dns.setTxt('bare.test', ['v=spf1 -all'])
    for (const domain of ['example.com', 'bare.test'])
      await assert.rejects(resolve(domain), {
        code: 'NAME_UNKNOWN',
        status: 404,
        message: `no dnslink record for ${domain}: looked for TXT "dnslink=/ipfs/<CID>" at _dnslink.${domain} and ${domain}`
      })
  })

  it('names records of other namespaces', async () => {
    dns.setTxt('_dnslink.only.test', ['dnslink=/hyper/abc'])
    await assert.rejects(resolve('only.test'), {
      code: 'NAME_UNKNOWN',
      message: /seen: .*dnslink=\/hyper\/abc/
    })
    dns.setTxt('_dnslink.both.test', ['dnslink=/hyper/abc', LINK])
    const { root, problems } = await resolve('both.test')
    assert.equal(root.toString(), ROOT)
    assert.match(problems.join(), /_dnslink\.both\.test "dnslink=\/hyper\/abc": the namespace "hyper"/)
  })

  it('quotes a record that does not parse', async () => {
    dns.setTxt('_dnslink.example.com', ['dnslink=/ipfs/QmNonsense'])
    await assert.rejects(resolve('example.com'), {
      code: 'SOURCE_FAILED',
      status: 502,
      message:
        'the dnslink record of example.com is of no use: ' +
        'TXT _dnslink.example.com "dnslink=/ipfs/QmNonsense": "QmNonsense" is not a CID; ' +
        'its owner has to publish it again'
    })
  })

  it('reports addresses that do not parse, and uses the others', async () => {
    dns.setTxt('_dnslink.example.com', [LINK])
    dns.setTxt('example.com', [`ipfsnode=["/carrier/pigeon","${NODE}"]`])
    const { providers, problems } = await resolve('example.com')
    assert.deepEqual(providers, [NODE])
    assert.deepEqual(problems, ['TXT example.com "/carrier/pigeon": Protocol carrier was unknown'])
  })

  it('follows /ipns/ to other domains, with paths, peers and the shortest TTL of the way', async () => {
    dns.setTxt('_dnslink.a.test', ['dnslink=/ipns/B.test/x'], 600)
    dns.setTxt('a.test', [`ipfsnode=${NODE}`], 600)
    dns.setTxt('c.test', [`dnslink=/ipfs/${ROOT}/z`], 20)
    dns.setTxt('_dnslink.b.test', ['dnslink=/ipns/c.test/y'], 600)
    dns.setTxt('b.test', [`ipfsnode=/dns4/b.test/tcp/1 ${NODE}`], 600)
    dns.setNegativeTtl(300)
    const { root, path, providers, expires, domain } = await resolve('a.test')
    assert.deepEqual([domain, root.toString(), path], ['a.test', ROOT, 'z/y/x'])
    assert.deepEqual(providers, [NODE, '/dns4/b.test/tcp/1'])
    assert.equal(expires, time.now() + 20_000)
  })

  it('follows CNAMEs of _dnslink', async () => {
    dns.setCname('_dnslink.example.com', '_dnslink.hosted.test')
    dns.setTxt('_dnslink.hosted.test', [LINK])
    assert.equal((await resolve('example.com')).root.toString(), ROOT)
  })

  it('ends loops and long chains of dnslinks with an error that shows them', async () => {
    dns.setTxt('_dnslink.a.test', ['dnslink=/ipns/b.test'])
    dns.setTxt('_dnslink.b.test', ['dnslink=/ipns/a.test'])
    const message = 'dnslink loop: a.test → b.test → a.test; one of them has to lead to /ipfs/<CID> instead'
    await assert.rejects(resolve('a.test'), { code: 'SOURCE_FAILED', message })
    for (let i = 0; i < 40; i += 1) dns.setTxt(`_dnslink.n${i}.test`, [`dnslink=/ipns/n${i + 1}.test`])
    await assert.rejects(resolve('n0.test'), { code: 'SOURCE_FAILED', message: /more than 8 dnslinks/ })
  })

  it('says which domain of a chain has no record', async () => {
    dns.setTxt('_dnslink.a.test', ['dnslink=/ipns/b.test'])
    await assert.rejects(resolve('a.test'), {
      code: 'NAME_UNKNOWN',
      message: /at _dnslink\.b\.test and b\.test/
    })
  })

  it('refuses IPNS names where nothing resolves them', async () => {
    dns.setTxt('_dnslink.a.test', [`dnslink=/ipns/${KEY}`])
    await assert.rejects(resolve('a.test'), { code: 'SOURCE_FAILED', message: /does not resolve IPNS names/ })
  })

  it('resolves IPNS names, which may lead to a domain again', async () => {
    await discovery.stop()
    const asked: string[] = []
    ipns = async (name) => {
      asked.push(name)
      return asked.length === 1 ? `/ipfs/${ROOT}/deep` : '/ipns/b.test'
    }
    start()
    dns.setNegativeTtl(300)
    dns.setTxt('_dnslink.a.test', [`dnslink=/ipns/${KEY}/x`], 3600)
    const { root, path, expires } = await resolve('a.test')
    assert.deepEqual([root.toString(), path, asked], [ROOT, 'deep/x', [KEY]])
    assert.equal(expires, time.now() + 60_000)
    dns.setTxt('_dnslink.a2.test', [`dnslink=/ipns/${KEY}`])
    dns.setTxt('_dnslink.b.test', [LINK])
    assert.equal((await resolve('a2.test')).root.toString(), ROOT)
  })

  it('says why an IPNS name did not resolve', async () => {
    await discovery.stop()
    let answer: () => Promise<string> = () => Promise.reject(new Error('no peer has it'))
    ipns = () => answer()
    start()
    dns.setTxt('_dnslink.a.test', [`dnslink=/ipns/${KEY}`])
    await assert.rejects(resolve('a.test'), {
      code: 'SOURCE_FAILED',
      message: /did not resolve: no peer has it/
    })
    time.pass(2)
    answer = () => Promise.resolve('nonsense')
    await assert.rejects(resolve('a.test'), { code: 'SOURCE_FAILED', message: /is of no use/ })
    answer = () => new Promise(() => {})
    await assert.rejects(resolve('a.test'), { code: 'SOURCE_TIMEOUT', message: /within 3000 ms/ })
  })

  it('refuses what is no domain', async () => {
    for (const domain of ['', 'a b', '127.0.0.1:5000', 'a/b', '../x'])
      await assert.rejects(resolve(domain), { code: 'NAME_INVALID', status: 400 })
    assert.equal(dns.queries.length, 0)
  })

  it('answers from memory while the records hold, and picks a new root up when they run out', async () => {
    dns.setTxt('_dnslink.example.com', [LINK], 30)
    dns.setTxt('example.com', [`ipfsnode=${NODE}`], 3600)
    await resolve('example.com')
    dns.setTxt('_dnslink.example.com', [`dnslink=/ipfs/${ROOT2}`], 30)
    time.pass(29)
    assert.equal((await resolve('example.com')).root.toString(), ROOT)
    assert.equal(dns.queries.length, 2)
    time.pass(1)
    const { root, stale, providers } = await resolve('example.com')
    assert.deepEqual([root.toString(), stale, providers], [ROOT2, false, [NODE]])
    assert.equal(dns.queries.length, 3)
  })

  it('shares one resolution among those who ask at once', async () => {
    dns.setTxt('_dnslink.example.com', [LINK])
    dns.behave('*', { delayMs: 100 })
    const leaver = new AbortController()
    const left = discovery.resolve('example.com', { signal: leaver.signal })
    const asked = Array.from({ length: 20 }, () => resolve('EXAMPLE.com.'))
    leaver.abort(new Error('gone'))
    await assert.rejects(left, /gone/)
    for (const { root } of await Promise.all(asked)) assert.equal(root.toString(), ROOT)
    assert.equal(dns.queries.length, 2)
  })
})
