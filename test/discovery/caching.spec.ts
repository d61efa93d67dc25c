import assert from 'node:assert/strict'
import type { SoaAnswer } from 'dns-packet'
import { createDiscovery, type Discovery } from '../../src/discovery/index.ts'
import { createResolver, type Resolver } from '../../src/discovery/resolver.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { calm, clock, log, memoryRecords, ROOT, ROOT2 } from './support.ts'

describe('discovery: what is kept, and for how long', () => {
  let dns: DnsServer
  let resolver: Resolver
  let discovery: Discovery
  let time: ReturnType<typeof clock>

  beforeEach(async () => {
    dns = await startDnsServer()
    time = clock()
    resolver = createResolver({ servers: [dns.address], log, timeoutMs: 5000, now: time.now })
    const options = { servers: [dns.address], log, records: memoryRecords(), timeoutMs: 20_000 }
    discovery = createDiscovery({ ...options, now: time.now })
  })
  afterEach(async () => {
    await resolver.stop()
    await discovery.stop()
    await dns.stop()
  })

  /** Has the server deny a name with a SOA of its own. */
  function deny(name: string, flags: number, soa: { ttl: number; minimum: number } | undefined): void {
    dns.behave(name, {
      handler: (_, { packet, send }) => {
        const [given] = (packet.authorities ?? []) as SoaAnswer[]
        const authorities =
          soa === undefined || given === undefined
            ? []
            : [{ ...given, ttl: soa.ttl, data: { ...given.data, minimum: soa.minimum } }]
        send({ ...packet, flags: 0x8400 | flags, authorities })
      }
    })
  }

  // RFC 2308 section 5: the smaller of the two, and nothing where there is no SOA
  for (const [what, flags, soa, seconds] of [
    ["NXDOMAIN, by the SOA's TTL", 3, { ttl: 30, minimum: 3600 }, 30],
    ["NXDOMAIN, by the SOA's minimum", 3, { ttl: 3600, minimum: 45 }, 45],
    ["no data, by the SOA's TTL", 0, { ttl: 20, minimum: 100 }, 20],
    ['absence for hours, but five minutes at most', 3, { ttl: 7200, minimum: 7200 }, 300],
    ['absence without a SOA, for a second', 3, undefined, 1]
  ] as const)
    it(what, async () => {
      deny('a.test', flags, soa)
      const ask = () => resolver.txt('a.test', { signal: calm() })
      assert.equal((await ask()).expires, time.now() + seconds * 1000)
      time.pass(seconds - 0.5)
      await ask()
      assert.equal(dns.queries.length, 1)
      time.pass(1)
      await ask()
      assert.equal(dns.queries.length, 2)
    })

  it('a domain without records is asked for again only when that has run out', async () => {
    dns.setNegativeTtl(60)
    const ask = () =>
      assert.rejects(discovery.resolve('a.test', { signal: calm() }), { code: 'NAME_UNKNOWN' })
    await ask()
    const first = dns.queries.length
    for (let i = 0; i < 5; i++) await ask()
    assert.equal(dns.queries.length, first)
    time.pass(61)
    dns.setTxt('_dnslink.a.test', [`dnslink=/ipfs/${ROOT}`])
    assert.equal((await discovery.resolve('a.test', { signal: calm() })).root.toString(), ROOT)
  })

  it('an answer that has just run out is given as stale when DNS is slow, and renewed by one query', async () => {
    dns.setNegativeTtl(1000)
    dns.setTxt('_dnslink.a.test', [`dnslink=/ipfs/${ROOT}`], 10)
    const resolve = () => discovery.resolve('a.test', { signal: calm() })
    await resolve()
    dns.setTxt('_dnslink.a.test', [`dnslink=/ipfs/${ROOT2}`], 10)
    let release: (() => void) | undefined
    const slow = new Promise<void>((done) => {
      release = done
    })
    dns.behave('_dnslink.a.test', { handler: (_, { packet, send }) => void slow.then(() => send(packet)) })
    time.pass(11)
    dns.forget()
    const given = await Promise.all([resolve(), resolve(), resolve()])
    for (const { root, stale } of given) assert.deepEqual([root.toString(), stale], [ROOT, true])
    // the queries of one race, with one id each, and no second race beside it
    const names = dns.queries.filter(({ name }) => name === '_dnslink.a.test')
    assert.ok(names.length >= 1 && names.length <= 4, `${names.length}`)
    release?.()
    let fresh = await resolve()
    for (; fresh.stale; time.pass(3)) fresh = await resolve()
    assert.equal(fresh.root.toString(), ROOT2)
  })
})
