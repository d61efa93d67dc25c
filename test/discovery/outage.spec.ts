import assert from 'node:assert/strict'
import { createDiscovery, type Discovery, type Published } from '../../src/discovery/index.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { calm, clock, log, memoryRecords, PEER, ROOT, ROOT2 } from './support.ts'

const NODE = `/ip4/192.0.2.1/tcp/4001/p2p/${PEER}`

describe('discovery: when DNS is down', () => {
  let dns: DnsServer
  let discovery: Discovery
  let time: ReturnType<typeof clock>
  let records: ReturnType<typeof memoryRecords>
  const resolve = (domain = 'example.com'): Promise<Published> =>
    discovery.resolve(domain, { signal: calm() })
  const start = (timeoutMs = 3000): void => {
    discovery = createDiscovery({ servers: [dns.address], log, records, timeoutMs, now: time.now })
  }
  const restart = async (): Promise<void> => {
    await discovery.stop()
    start()
  }
  const publish = (root: string): void => {
    dns.setTxt('_dnslink.example.com', [`dnslink=/ipfs/${root}/sub`], 30)
    dns.setTxt('example.com', [`ipfsnode=${NODE}`], 30)
  }
  /** Resolves until the answer is the fresh one, which a slow machine may not give at the first try. */
  const fresh = async (): Promise<Published> => {
    for (;;) {
      const answer = await resolve()
      if (!answer.stale) return answer
      time.pass(3)
    }
  }

  beforeEach(async () => {
    dns = await startDnsServer()
    time = clock()
    records = memoryRecords()
    start()
    publish(ROOT)
  })
  afterEach(async () => {
    await discovery.stop()
    await dns.stop()
  })

  for (const [how, behaviour] of [
    ['silent', { drop: true }],
    ['failing', { rcode: 'SERVFAIL' }]
  ] as const) {
    it(`uses the last good answer while servers are ${how}, and the new root when they are back`, async () => {
      const before = await resolve()
      dns.behave('*', behaviour)
      time.pass(31)
      const start = Date.now()
      const during = await resolve()
      assert.ok(Date.now() - start < 2500, 'it does not wait for the whole deadline')
      assert.deepEqual({ ...during, root: 0 }, { ...before, root: 0, stale: true })
      assert.equal(during.root.toString(), ROOT)

      dns.behave('*', undefined)
      publish(ROOT2)
      time.pass(3)
      const after = await fresh()
      assert.deepEqual([after.root.toString(), after.path, after.providers], [ROOT2, 'sub', [NODE]])
    })
  }

  it('uses the last good answer after a restart as well', async () => {
    await resolve()
    dns.behave('*', { rcode: 'REFUSED' })
    await restart()
    time.pass(86_400)
    const { root, path, providers, stale } = await resolve()
    assert.deepEqual([root.toString(), path, providers, stale], [ROOT, 'sub', [NODE], true])
    // the next one knows that servers fail, and asks them again only after a moment
    dns.forget()
    assert.equal((await resolve()).stale, true)
    assert.equal(dns.queries.length, 0)
  })

  it('answers with a fresh root after a restart when servers work', async () => {
    await resolve()
    publish(ROOT2)
    await restart()
    const { root, stale } = await fresh()
    assert.deepEqual([root.toString(), stale], [ROOT2, false])
  })

  it('fails for a domain that it never resolved, naming the servers', async () => {
    dns.behave('*', { rcode: 'SERVFAIL' })
    await assert.rejects(resolve(), {
      code: 'SOURCE_FAILED',
      message: `no DNS server could answer for TXT _dnslink.example.com: ${dns.address} answered SERVFAIL; try again, or name other servers in SEAWAY_DNS_SERVERS`
    })
    // for a moment the failure is the answer, and nobody is asked again
    dns.behave('*', undefined)
    await assert.rejects(resolve(), { code: 'SOURCE_FAILED' })
    time.pass(2)
    assert.equal((await resolve()).root.toString(), ROOT)
    dns.behave('*', { drop: true })
    await assert.rejects(resolve('other.test'), {
      code: 'SOURCE_TIMEOUT',
      message: `no DNS server could answer for TXT _dnslink.other.test: ${dns.address} did not answer in time; try again, or name other servers in SEAWAY_DNS_SERVERS`
    })
  })

  it('believes a server that says that the record is gone, also later in an outage', async () => {
    await resolve()
    dns.remove('_dnslink.example.com')
    time.pass(31)
    await assert.rejects(resolve(), { code: 'NAME_UNKNOWN' })
    dns.behave('*', { rcode: 'SERVFAIL' })
    await restart()
    time.pass(31)
    await assert.rejects(resolve(), { code: 'SOURCE_FAILED' })
  })

  it('does not use the last good answer in place of a record that is broken', async () => {
    await resolve()
    dns.setTxt('_dnslink.example.com', ['dnslink=/ipfs/typo'])
    time.pass(31)
    await assert.rejects(resolve(), { code: 'SOURCE_FAILED', message: /"typo" is not a CID/ })
  })

  it('keeps the peers that it knew when only the root can be looked up', async () => {
    await resolve()
    dns.behave('example.com', { rcode: 'SERVFAIL' })
    dns.setTxt('_dnslink.example.com', [`dnslink=/ipfs/${ROOT2}`], 3600)
    time.pass(31)
    const { root, providers, problems, expires } = await fresh()
    assert.deepEqual([root.toString(), providers], [ROOT2, [NODE]])
    assert.match(problems.join(), /TXT example\.com: could not be looked up for ipfsnode/)
    assert.ok(expires <= time.now() + 5000, 'it asks again soon')
    await restart()
    assert.deepEqual((await fresh()).providers, [NODE])
  })

  it('works on without records that can be read or written', async () => {
    const broken = {
      get: () => Promise.reject(new Error('disk')),
      put: () => Promise.reject(new Error('disk'))
    }
    await discovery.stop()
    discovery = createDiscovery({
      servers: [dns.address],
      log,
      records: broken,
      timeoutMs: 3000,
      now: time.now
    })
    assert.equal((await resolve()).root.toString(), ROOT)
    dns.behave('*', { rcode: 'SERVFAIL' })
    time.pass(31)
    assert.equal((await resolve()).stale, true)
  })

  it('ignores kept answers that are damaged', async () => {
    for (const damaged of ['{', '{}', '[]', 'null', '{"root":"x","path":"","providers":[1],"problems":[]}']) {
      records.kept.set('dns/example.com', Buffer.from(damaged))
      await restart()
      assert.equal((await resolve()).root.toString(), ROOT)
    }
  })

  it('writes an answer that stays the same only now and then', async () => {
    let writes = 0
    const put = records.put
    records.put = async (key, value) => {
      writes += 1
      await put(key, value)
    }
    for (let i = 0; i < 5; i += 1) {
      await resolve()
      time.pass(31)
    }
    await restart()
    assert.equal(writes, 1)
    assert.deepEqual([...records.kept.keys()], ['dns/example.com'])
  })

  it('lets a caller leave during the wait, and stops in mid-refresh', async () => {
    await resolve()
    dns.behave('*', { drop: true })
    time.pass(31)
    const leaver = new AbortController()
    const left = discovery.resolve('example.com', { signal: leaver.signal })
    setTimeout(() => leaver.abort(new Error('gone')), 20)
    await assert.rejects(left, /gone/)
    await discovery.stop()
    await assert.rejects(resolve(), { code: 'UNAVAILABLE', status: 503 })
  })
})
