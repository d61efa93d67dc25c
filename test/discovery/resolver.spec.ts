import assert from 'node:assert/strict'
import { AUTHENTIC_DATA } from 'dns-packet'
import { createResolver, type Resolver } from '../../src/discovery/resolver.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { calm, clock, log } from './support.ts'

describe('discovery: TXT look-ups', () => {
  let dns: DnsServer
  let resolver: Resolver
  let time: ReturnType<typeof clock>
  const txt = (name: string) => resolver.txt(name, { signal: calm() })

  beforeEach(async () => {
    dns = await startDnsServer()
    time = clock()
    resolver = createResolver({ servers: [dns.address], log, timeoutMs: 5000, now: time.now })
  })
  afterEach(async () => {
    await resolver.stop()
    await dns.stop()
  })

  it('answers all records, each with its strings joined', async () => {
    dns.setTxt('a.test', [['one ', 'and ', 'a half'], 'x'.repeat(700)])
    const answer = await txt('a.test')
    assert.deepEqual(answer.records, ['one and a half', 'x'.repeat(700)])
    assert.equal(answer.status, 'found')
    assert.equal(answer.server, dns.address)
  })

  it('asks in lower case and without a trailing dot, in random case on the wire', async () => {
    const name = 'abcdefghijklmnopqrstuvwxyz.abcdefghijklmnopqrstuvwxyz.test'
    dns.setTxt(name, ['yes'])
    assert.equal((await txt(`${name.toUpperCase()}.`)).name, name)
    assert.equal(dns.queries[0]?.name, name)
    assert.notEqual(dns.queries[0]?.rawName, name)
    assert.notEqual(dns.queries[0]?.rawName, name.toUpperCase())
  })

  it('uses another id and another port for each query, EDNS of 1232 bytes, RD and AD', async () => {
    for (let i = 0; i < 8; i += 1) await txt(`n${i}.test`)
    assert.ok(new Set(dns.queries.map((query) => query.id)).size > 4)
    assert.ok(new Set(dns.queries.map((query) => query.port)).size > 4)
    const { packet } = dns.queries[0] ?? assert.fail()
    assert.equal(packet.additionals?.find((record) => record.type === 'OPT')?.udpPayloadSize, 1232)
    assert.equal(packet.flag_rd, true)
    assert.equal(packet.flag_ad, true)
  })

  it('asks for internationalised names in ASCII', async () => {
    dns.setTxt('xn--bcher-kva.test', ['umlaut'])
    assert.deepEqual((await txt('Bücher.test')).records, ['umlaut'])
  })

  it('refuses what is no name, without asking', async () => {
    for (const name of [
      '',
      '.',
      'a..b',
      `${'a'.repeat(64)}.test`,
      'a b.test',
      'a/b',
      `${'abc.'.repeat(64)}test`,
      '\ufffd.test'
    ])
      await assert.rejects(txt(name), { code: 'NAME_INVALID' }, name)
    assert.equal(dns.queries.length, 0)
  })

  it('takes odd names that the zone may hold', async () => {
    for (const name of [
      '_._7.test',
      '*.8.test',
      's!ome.test',
      'foo--bar.test',
      '123',
      '127.0.0.1',
      'example.0'
    ]) {
      dns.setTxt(name, [name])
      assert.deepEqual((await txt(name)).records, [name])
    }
  })

  it('never applies search domains: one label is asked for as it is', async () => {
    await txt('single')
    assert.deepEqual([...new Set(dns.queries.map((query) => query.name))], ['single'])
  })

  it('follows CNAMEs within the answer, and holds it by the shortest TTL', async () => {
    dns.setCname('a.test', 'b.test', { ttl: 300 })
    dns.setCname('b.test', 'C.test', { ttl: 20 })
    dns.setTxt('c.test', ['end'], 100)
    const answer = await txt('a.test')
    assert.deepEqual([answer.records, answer.canonical], [['end'], 'c.test'])
    assert.equal(answer.expires, time.now() + 20_000)
    assert.equal(dns.queries.length, 1)
  })

  it('asks again where a chain of CNAMEs stops in mid-answer', async () => {
    dns.setCname('a.test', 'b.test', { complete: false })
    dns.setCname('b.test', 'c.test', { complete: false })
    dns.setTxt('c.test', ['end'])
    assert.deepEqual((await txt('a.test')).records, ['end'])
    assert.deepEqual(
      dns.queries.map((query) => query.name),
      ['a.test', 'b.test', 'c.test']
    )
  })

  it('says where a CNAME leads to nothing', async () => {
    dns.setCname('a.test', 'gone.test')
    assert.equal((await txt('a.test')).status, 'nxdomain')
  })

  it('ends CNAME loops with an error that shows them, within one answer and over several', async () => {
    for (const complete of [true, false]) {
      const names = complete ? ['a.test', 'b.test'] : ['c.test', 'd.test']
      dns.setCname(names[0] as string, names[1] as string, { complete })
      dns.setCname(names[1] as string, names[0] as string, { complete })
      await assert.rejects(txt(names[0] as string), {
        code: 'SOURCE_FAILED',
        message: `CNAME loop: ${names.join(' → ')} → ${names[0]}; the owner of ${names[0]} has to mend it`
      })
    }
    dns.setCname('self.test', 'self.test')
    await assert.rejects(txt('self.test'), /CNAME loop: self\.test → self\.test/)
  })

  it('gives up on chains that go on and on', async () => {
    for (let i = 0; i < 40; i += 1) dns.setCname(`n${i}.test`, `n${i + 1}.test`, { complete: i % 2 === 0 })
    await assert.rejects(txt('n0.test'), /more than 16 CNAMEs in a row/)
    assert.ok(dns.queries.length < 20)
  })

  it('keeps an answer for its TTL and then asks again', async () => {
    dns.setTxt('a.test', ['old'], 30)
    await txt('a.test')
    dns.setTxt('a.test', ['new'], 30)
    time.pass(29)
    assert.deepEqual((await txt('a.test')).records, ['old'])
    time.pass(1)
    assert.deepEqual((await txt('a.test')).records, ['new'])
    assert.equal(dns.queries.length, 2)
  })

  it('keeps an answer at least a second and at most a day', async () => {
    dns.setTxt('short.test', ['x'], 0)
    dns.setTxt('long.test', ['x'], 10_000_000)
    dns.setTxt('absurd.test', ['x'], 0xffffffff)
    assert.equal((await txt('short.test')).expires, time.now() + 1000)
    assert.equal((await txt('long.test')).expires, time.now() + 86_400_000)
    assert.equal((await txt('absurd.test')).expires, time.now() + 1000)
  })

  it('keeps absence as long as the SOA says, but five minutes at most', async () => {
    dns.setNegativeTtl(40)
    dns.setTxt('below.nodata.test', ['x'])
    assert.equal((await txt('none.test')).status, 'nxdomain')
    assert.equal((await txt('nodata.test')).status, 'nodata')
    assert.equal((await txt('none.test')).expires, time.now() + 40_000)
    assert.equal(dns.queries.length, 2)
    dns.setNegativeTtl(86_400)
    assert.equal((await txt('none2.test')).expires, time.now() + 300_000)
  })

  it('shares one query among those who ask at once, and lets one of them leave', async () => {
    dns.setTxt('a.test', ['x'])
    dns.behave('a.test', { delayMs: 100 })
    const leaver = new AbortController()
    const asked = Array.from({ length: 20 }, () => txt('a.test'))
    const left = resolver.txt('a.test', { signal: leaver.signal })
    leaver.abort(new Error('gone'))
    await assert.rejects(left, /gone/)
    for (const answer of await Promise.all(asked)) assert.deepEqual(answer.records, ['x'])
    assert.equal(dns.queries.length, 1)
  })

  it('refuses an aborted caller without asking', async () => {
    await assert.rejects(resolver.txt('a.test', { signal: AbortSignal.abort(new Error('gone')) }), /gone/)
    assert.equal(dns.queries.length, 0)
  })

  it('carries the AD flag', async () => {
    dns.setTxt('a.test', ['x'])
    dns.setTxt('b.test', ['x'])
    dns.behave('a.test', {
      handler: (_query, { packet, send }) => send({ ...packet, flags: (packet.flags ?? 0) | AUTHENTIC_DATA })
    })
    assert.equal((await txt('a.test')).authenticated, true)
    assert.equal((await txt('b.test')).authenticated, false)
  })

  it('ends what is under way when it is stopped, and asks nothing afterwards', async () => {
    dns.behave('*', { drop: true })
    const asked = txt('a.test')
    const ended = assert.rejects(asked, { code: 'UNAVAILABLE' })
    await resolver.stop()
    await ended
    await assert.rejects(txt('b.test'), { code: 'UNAVAILABLE' })
  })

  it('refuses to be made with a server that is none', () => {
    for (const server of [
      '',
      'a b',
      '127.0.0.1:0',
      '127.0.0.1:99999',
      '[127.0.0.1]:53',
      'http://dns',
      '::1:x'
    ])
      assert.throws(() => createResolver({ servers: [server], log, timeoutMs: 1 }), /DNS server .*expected/)
    for (const server of ['127.0.0.1', 'localhost:5353', '[::1]', '[::1]:5353', '::1'])
      createResolver({ servers: [server], log, timeoutMs: 1 })
  })

  it('takes a server by its host name', async () => {
    dns.setTxt('a.test', ['x'])
    const named = createResolver({ servers: [`localhost:${dns.port}`, dns.address], log, timeoutMs: 5000 })
    assert.deepEqual((await named.txt('a.test', { signal: calm() })).records, ['x'])
    await named.stop()
  })
})
