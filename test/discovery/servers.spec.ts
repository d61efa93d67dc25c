import assert from 'node:assert/strict'
import { encode } from 'dns-packet'
import { createResolver, type Resolver } from '../../src/discovery/resolver.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { calm, deadAddress, log, sendFrom } from './support.ts'

describe('discovery: servers that fail, lie or babble', () => {
  let dns: DnsServer
  let second: DnsServer
  let resolvers: Resolver[]
  const make = (servers: string[], timeoutMs = 5000): Resolver => {
    const resolver = createResolver({ servers, log, timeoutMs })
    resolvers.push(resolver)
    return resolver
  }
  const ask = (resolver: Resolver, name = 'a.test') => resolver.txt(name, { signal: calm() })

  beforeEach(async () => {
    resolvers = []
    dns = await startDnsServer()
    second = await startDnsServer()
    dns.setTxt('a.test', ['first'])
    second.setTxt('a.test', ['second'])
  })
  afterEach(async () => {
    await Promise.all(resolvers.map((resolver) => resolver.stop()))
    await Promise.all([dns.stop(), second.stop()])
  })

  for (const rcode of ['SERVFAIL', 'REFUSED', 'FORMERR', 'NOTIMP'] as const) {
    it(`goes to the next server at ${rcode}, and names it when there is none`, async () => {
      dns.behave('*', { rcode })
      assert.deepEqual((await ask(make([dns.address, second.address]))).records, ['second'])
      await assert.rejects(ask(make([dns.address])), {
        code: 'SOURCE_FAILED',
        message: `no DNS server could answer for TXT a.test: ${dns.address} answered ${rcode}; try again, or name other servers in SEAWAY_DNS_SERVERS`
      })
    })
  }

  it('does not wait long for a server that is silent when there is another', async () => {
    dns.behave('*', { drop: true })
    const resolver = make([dns.address, second.address], 9000)
    const start = Date.now()
    assert.deepEqual((await ask(resolver)).records, ['second'])
    assert.ok(Date.now() - start < 4000)
    // the silent one is asked last from now on
    second.setTxt('b.test', ['x'])
    second.forget()
    dns.forget()
    await ask(resolver, 'b.test')
    assert.deepEqual([dns.queries.length, second.queries.length], [0, 1])
  })

  it('says which servers were silent, within the deadline', async () => {
    dns.behave('*', { drop: true })
    second.behave('*', { drop: true })
    await assert.rejects(ask(make([dns.address, second.address], 700)), {
      code: 'SOURCE_TIMEOUT',
      status: 504,
      message: `no DNS server could answer for TXT a.test: ${dns.address} did not answer in time; ${second.address} did not answer in time; try again, or name other servers in SEAWAY_DNS_SERVERS`
    })
  })

  it('asks again when a packet is lost', async () => {
    let lost = 0
    dns.behave('*', {
      handler: (_query, { packet, send }) => {
        lost += 1
        if (lost > 1) send(packet)
      }
    })
    assert.deepEqual((await ask(make([dns.address]))).records, ['first'])
  })

  it('goes on when nothing listens at a server', async () => {
    const dead = await deadAddress()
    assert.deepEqual((await ask(make([dead, second.address]))).records, ['second'])
    await assert.rejects(ask(make([dead])), (error: Error) =>
      error.message.includes(`${dead} could not be reached`)
    )
  })

  it('takes NXDOMAIN for an answer, and asks nobody else', async () => {
    assert.equal((await ask(make([dns.address, second.address]), 'none.test')).status, 'nxdomain')
    assert.equal(second.queries.length, 0)
  })

  it('asks without EDNS where that is refused', async () => {
    dns.behave('*', {
      handler: (query, { packet, send }) => {
        const id = query.id
        send(query.packet.additionals?.length ? encode({ type: 'response', id, flags: 1 }) : packet)
      }
    })
    assert.deepEqual((await ask(make([dns.address]))).records, ['first'])
  })

  it('asks over TCP when told that the answer is truncated', async () => {
    dns.behave('a.test', { truncate: true })
    assert.deepEqual((await ask(make([dns.address]))).records, ['first'])
    dns.setTxt('long.test', ['y'.repeat(5000)])
    assert.deepEqual((await ask(make([dns.address]), 'long.test')).records, ['y'.repeat(5000)])
    assert.deepEqual(
      dns.queries.map((query) => query.transport),
      ['udp', 'tcp', 'udp', 'tcp']
    )
  })

  it('reads answers of almost 64 KiB, and survives longer ones', async () => {
    const records = Array.from({ length: 60 }, (_, i) => `${i}`.padEnd(1000, 'z'))
    dns.setTxt('huge.test', records)
    assert.deepEqual((await ask(make([dns.address]), 'huge.test')).records, records)
    dns.behave('a.test', {
      handler: (query, { packet, send, raw }) => {
        if (query.transport === 'udp') return send({ ...packet, flags: 0x0200, answers: [] })
        raw(Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.alloc(1_000_000, 0x41)]))
      }
    })
    await assert.rejects(ask(make([dns.address])), { code: 'SOURCE_FAILED' })
  })

  it('goes on when TCP is refused, cut, silent, truncated or off the question', async () => {
    const ways: ((send: (bytes: Buffer | null) => void, whole: Buffer) => void)[] = [
      (raw) => raw(null),
      (raw, whole) => {
        raw(Buffer.concat([Buffer.from([whole.length >> 8, whole.length & 255]), whole.subarray(0, 20)]))
        setTimeout(() => raw(null), 20)
      },
      () => {},
      (raw) => raw(Buffer.from([0, 3, 1, 2, 3])),
      (raw, whole) => {
        const cut = Buffer.from(whole)
        cut.writeUInt8((cut[2] as number) | 2, 2)
        raw(Buffer.concat([Buffer.from([cut.length >> 8, cut.length & 255]), cut]))
      }
    ]
    for (const way of ways) {
      dns.behave('a.test', {
        handler: (query, { packet, send, raw }) => {
          if (query.transport === 'udp') send({ ...packet, flags: 0x0200, answers: [] })
          else way(raw, encode(packet))
        }
      })
      assert.deepEqual((await ask(make([dns.address, second.address]))).records, ['second'])
    }
  })

  it('skips packets with another id, another question or from another address', async () => {
    dns.behave('a.test', {
      handler: (query, { packet, send }) => {
        const forged = {
          ...packet,
          answers: [{ type: 'TXT' as const, name: 'a.test', ttl: 60, data: ['forged'] }]
        }
        send({ ...forged, id: (query.id + 1) & 0xffff })
        send({ ...forged, questions: [{ type: 'TXT', name: 'b.test' }] })
        send({ ...forged, questions: [] })
        send({ ...forged, type: 'query' })
        send(Buffer.from([1, 2, 3]))
        send(Buffer.alloc(0))
        void sendFrom(encode(forged), query).then(() => send(packet))
      }
    })
    assert.deepEqual((await ask(make([dns.address]))).records, ['first'])
    assert.equal(dns.queries.length, 1)
  })

  it('turns to TCP when forged answers pour in', async () => {
    dns.behave('a.test', {
      handler: (query, { packet, send }) => {
        if (query.transport === 'tcp') return send(packet)
        for (let i = 1; i <= 50; i += 1) send({ ...packet, id: (query.id + i) & 0xffff })
      }
    })
    assert.deepEqual((await ask(make([dns.address]))).records, ['first'])
    assert.equal(dns.queries.at(-1)?.transport, 'tcp')
  })

  it('does not believe an answer over UDP in the wrong case', async () => {
    const name = 'abcdefghijklmnopqrstuvwxyz.test'
    dns.setTxt(name, ['true'])
    dns.behave(name, {
      handler: (query, { packet, send }) => {
        if (query.transport === 'tcp') return send(packet)
        send({
          ...packet,
          questions: [{ type: 'TXT', name }],
          answers: [{ type: 'TXT', name, ttl: 60, data: ['forged'] }]
        })
      }
    })
    assert.deepEqual((await ask(make([dns.address]), name)).records, ['true'])
  })

  for (const drop of [undefined, 'tcp'] as const) {
    it(`gets along with a server that folds case${drop ? ' and serves no TCP' : ''}`, async () => {
      dns.behave('*', { foldCase: true })
      if (drop)
        dns.behave('*', {
          handler: (query, { packet, send, raw }) => {
            const questions = [{ type: 'TXT' as const, name: query.name }]
            if (query.transport === 'tcp') raw(null)
            else send({ ...packet, questions })
          }
        })
      const resolver = make([dns.address])
      dns.setTxt('abcdefghijklmnop.test', ['x'])
      dns.setTxt('bcdefghijklmnopq.test', ['x'])
      assert.deepEqual((await ask(resolver, 'abcdefghijklmnop.test')).records, ['x'])
      dns.forget()
      assert.deepEqual((await ask(resolver, 'bcdefghijklmnopq.test')).records, ['x'])
      assert.deepEqual(
        dns.queries.map((query) => query.transport),
        ['udp']
      )
    })
  }

  it('goes on after malformed packets', async () => {
    dns.behave('a.test', {
      handler: (_query, { packet, send }) => {
        const bytes = encode(packet)
        bytes.writeUInt16BE(9, 6) // claims nine answers
        send(bytes)
      }
    })
    assert.deepEqual((await ask(make([dns.address, second.address]))).records, ['second'])
    await assert.rejects(ask(make([dns.address])), /sent a malformed answer/)
  })

  it('does not take a packet that was cut for a shorter record', async () => {
    dns.behave('a.test', {
      handler: (_query, { packet, send }) => {
        const bytes = encode(packet)
        send(bytes.subarray(0, bytes.length - 2))
      }
    })
    assert.deepEqual((await ask(make([dns.address, second.address]))).records, ['second'])
    await assert.rejects(ask(make([dns.address])), /sent a malformed answer \(a record is longer/)
  })

  it('says why a resolver failed, where it tells', async () => {
    const because = (...data: number[]) => ({ code: 15, data: Buffer.from(data) })
    const failing: [option: { code: number; data: Buffer }, says: string][] = [
      [because(0, 6), 'answered SERVFAIL (DNSSEC bogus)'],
      [
        { code: 15, data: Buffer.from('\0\x07expired \x1b[1m') },
        'answered SERVFAIL (signature expired "expired \\u001b[1m")'
      ],
      [because(0x30, 0x39), 'answered SERVFAIL (extended error 12345)'],
      [because(0), 'answered SERVFAIL;']
    ]
    for (const [option, says] of failing) {
      dns.behave('a.test', {
        handler: (_query, { packet, send }) => {
          const opt = { type: 'OPT', name: '.', udpPayloadSize: 1232, flags: 0, options: [option] }
          send({ ...packet, flags: 2, answers: [], additionals: [opt as never] })
        }
      })
      await assert.rejects(ask(make([dns.address])), (error: Error) => error.message.includes(says), says)
    }
  })

  it('takes no harm from bytes changed at random', async function () {
    this.timeout(30_000)
    dns.behave('*', {
      handler: (_query, { packet, send }) => {
        const bytes = encode(packet)
        for (let i = 0; i < 6; i += 1)
          bytes[12 + Math.floor(Math.random() * (bytes.length - 12))] = Math.floor(Math.random() * 256)
        send(bytes)
      }
    })
    const resolver = make([dns.address, second.address])
    const names = Array.from({ length: 150 }, (_, i) => `n${i}.test`)
    for (const name of names) {
      dns.setTxt(name, ['0123456789'.repeat(20)])
      second.setTxt(name, ['x'])
    }
    const settled = await Promise.allSettled(names.map((name) => ask(resolver, name)))
    assert.equal(settled.length, names.length)
  })

  it('does not take a referral for an answer', async () => {
    dns.behave('a.test', {
      handler: (_query, { packet, send }) => send({ ...packet, flags: 0, answers: [] })
    })
    assert.deepEqual((await ask(make([dns.address, second.address]))).records, ['second'])
  })

  it('refuses a CNAME that leads to no name', async () => {
    dns.setCname('b.test', 'not a name.test')
    await assert.rejects(ask(make([dns.address]), 'b.test'), { code: 'SOURCE_FAILED', message: /no name/ })
  })
})
