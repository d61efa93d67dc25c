import assert from 'node:assert/strict'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { createResolver, type Resolver } from '../../src/discovery/resolver.ts'
import { AUTHORITY } from '../support/certificate.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { type DohExchange, type DohServer, startDohServer } from '../support/doh-server.ts'
import { calm, clock, deadAddress, log } from './support.ts'

describe('discovery: name servers over HTTPS', () => {
  const trusted = getCACertificates('default')
  let dns: DnsServer
  let doh: DohServer
  let resolvers: Resolver[]
  const make = (servers: string[], timeoutMs = 5000, now = Date.now): Resolver => {
    const resolver = createResolver({ servers, log, timeoutMs, now })
    resolvers.push(resolver)
    return resolver
  }
  const ask = (resolver: Resolver, name = 'a.test') => resolver.txt(name, { signal: calm() })

  beforeEach(async () => {
    setDefaultCACertificates([...trusted, AUTHORITY])
    resolvers = []
    dns = await startDnsServer()
    dns.setTxt('a.test', ['over https'])
    doh = await startDohServer({ dns })
  })
  afterEach(async () => {
    await Promise.all(resolvers.map((resolver) => resolver.stop()))
    await Promise.all([doh.stop(), dns.stop()])
    setDefaultCACertificates(trusted)
  })

  it('are asked by POST over HTTP/2, with all questions in one connection', async () => {
    const resolver = make([doh.url])
    const names = Array.from({ length: 10 }, (_, i) => `n${i}.test`)
    for (const name of names) dns.setTxt(name, [name])
    const answer = await ask(resolver)
    assert.deepEqual([answer.records, answer.server], [['over https'], doh.url])
    const answers = await Promise.all(names.map((name) => ask(resolver, name)))
    assert.deepEqual(
      answers.map(({ records }) => records),
      names.map((name) => [name])
    )
    assert.deepEqual([...new Set(doh.asked)], ['2.0 POST /dns-query'])
    assert.equal(doh.connections, 1)
  })

  it('share one connection too where questions come before it is there', async () => {
    const resolver = make([doh.url])
    await Promise.all(['a.test', 'b.test', 'c.test'].map((name) => ask(resolver, name)))
    assert.equal(doh.connections, 1)
  })

  it('are asked with id 0, in lower case, padded, and for their DNSSEC status', async () => {
    const messages: Buffer[] = []
    doh.behave(async ({ message, response, answer }) => {
      messages.push(message)
      response.writeHead(200, { 'content-type': 'Application/DNS-Message; charset=x' })
      response.end(await answer())
    })
    const resolver = make([doh.url])
    for (const name of ['A.test', 'a-much-longer-name-than-the-other-one.test']) await ask(resolver, name)
    assert.deepEqual(
      messages.map((message) => [message.readUInt16BE(0), message.length]),
      [
        [0, 128],
        [0, 128]
      ]
    )
    assert.equal(dns.queries[0]?.rawName, 'a.test')
    assert.equal(dns.queries[0]?.packet.flag_ad, true)
  })

  it('may speak HTTP/1.1 alone', async () => {
    const old = await startDohServer({ dns, http1: true })
    try {
      const resolver = make([old.url])
      assert.deepEqual((await ask(resolver)).records, ['over https'])
      await ask(resolver, 'b.test')
      assert.deepEqual(old.asked, ['1.1 POST /dns-query', '1.1 POST /dns-query'])
      assert.ok(old.connections <= 2, 'one to find out, one for both questions')
    } finally {
      await old.stop()
    }
  })

  it('are taken by address as well, and race with plain ones', async () => {
    const [host] = [doh.url.replace('localhost', '127.0.0.1')]
    assert.deepEqual((await ask(make([host]))).records, ['over https'])
    assert.deepEqual((await ask(make([await deadAddress(), host]))).records, ['over https'])
    doh.behave(() => {})
    assert.equal((await ask(make([host, dns.address]))).server, dns.address)
  })

  it('are not believed without a certificate that is trusted, and it is said what to do', async () => {
    setDefaultCACertificates(trusted)
    await assert.rejects(
      ask(make([doh.url])),
      /could not be reached over HTTPS \(.*certificate.*NODE_EXTRA_CA_CERTS/
    )
    assert.deepEqual(doh.asked, [])
  })

  it('are not believed with a certificate for another name', async () => {
    const other = await startDohServer({ dns, host: '127.0.0.2' })
    try {
      await assert.rejects(
        ask(make([other.url.replace('localhost', '127.0.0.2')])),
        /could not be reached over HTTPS \(.*certificate's altnames/
      )
      assert.deepEqual(other.asked, [])
    } finally {
      await other.stop()
    }
  })

  const wrong: [what: string, handler: (exchange: DohExchange) => void | Promise<void>, says: RegExp][] = [
    ['a failure', ({ response }) => void response.writeHead(503).end(), /answered HTTP 503/],
    [
      'a redirect',
      ({ response }) => void response.writeHead(302, { location: 'https://127.0.0.1:1/' }).end(),
      /answered HTTP 302/
    ],
    [
      'a page',
      ({ response }) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Hello</h1>'),
      /answered text\/html, not application\/dns-message/
    ],
    [
      'more than a message can have',
      ({ response }) => {
        response.writeHead(200, { 'content-type': 'application/dns-message' })
        response.end(Buffer.alloc(10_000_000))
      },
      /answered more than 65535 bytes/
    ],
    [
      'the answer to something else',
      async ({ response, answer }) => {
        const bytes = await answer()
        bytes[13] = 'b'.charCodeAt(0)
        response.writeHead(200, { 'content-type': 'application/dns-message' }).end(bytes)
      },
      /answered another question over HTTPS/
    ],
    [
      'half an answer',
      async ({ response, answer }) => {
        const bytes = await answer()
        response.writeHead(200, { 'content-type': 'application/dns-message' }).end(bytes.subarray(0, 40))
      },
      /sent a malformed answer over HTTPS/
    ],
    ['a closed stream', ({ response }) => response.stream.close(8), /ended the HTTPS connection/],
    [
      'a connection cut in mid-answer',
      ({ response }) => {
        response.writeHead(200, { 'content-type': 'application/dns-message' })
        response.write(Buffer.alloc(10), () => response.stream.session?.destroy())
      },
      /ended the HTTPS connection/
    ]
  ]
  for (const [what, handler, says] of wrong) {
    it(`that give ${what} are named with it, and the next one is asked`, async () => {
      doh.behave(handler)
      await assert.rejects(ask(make([doh.url])), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'SOURCE_FAILED')
        assert.ok(error.message.includes(doh.url), error.message)
        assert.match(error.message, says)
        return true
      })
      assert.deepEqual((await ask(make([doh.url, dns.address]))).records, ['over https'])
    })
  }

  it('that are silent are named at the deadline', async () => {
    doh.behave(() => {})
    await assert.rejects(ask(make([doh.url], 900)), {
      code: 'SOURCE_TIMEOUT',
      message: `no DNS server could answer for TXT a.test: ${doh.url} did not answer in time; try again, or name other servers in SEAWAY_DNS_SERVERS`
    })
  })

  it('are asked again over a new connection when the old one was closed or has gone silent', async () => {
    const resolver = make([doh.url])
    await ask(resolver)
    doh.cut()
    dns.setTxt('b.test', ['again'])
    assert.deepEqual((await ask(resolver, 'b.test')).records, ['again'])
    assert.equal(doh.connections, 2)
    let silent = true
    doh.behave(async ({ request, response, answer }) => {
      if (silent) return
      assert.ok(request.stream)
      response.writeHead(200, { 'content-type': 'application/dns-message' }).end(await answer())
    })
    const lost = assert.rejects(resolver.txt('c.test', { signal: AbortSignal.timeout(1500) }))
    await lost
    silent = false
    dns.setTxt('d.test', ['new'])
    assert.deepEqual((await ask(resolver, 'd.test')).records, ['new'])
    assert.equal(doh.connections, 3)
  })

  it('may answer out of an HTTP cache: the time there is gone from the TTL', async () => {
    const time = clock()
    dns.setTxt('a.test', ['x'], 300)
    doh.behave(async ({ response, answer }) => {
      response.writeHead(200, { 'content-type': 'application/dns-message', age: '120' })
      response.end(await answer())
    })
    assert.equal((await ask(make([doh.url], 5000, time.now))).expires, time.now() + 180_000)
  })

  it('are refused at the start where the URL is of no use', () => {
    for (const url of ['https://', 'https://u:p@dns.test/', 'https://dns.test/{?dns}', 'https://dns.test/#x'])
      assert.throws(() => make([url]), /expected https:\/\/host\[:port\]\/dns-query/, url)
    make(['https://dns.test/dns-query', 'https://[::1]:8443/dns-query'])
  })
})
