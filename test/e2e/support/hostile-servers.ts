/** What name servers, and whoever forges their answers, can do wrong. */
import { encode, type Packet } from 'dns-packet'
import type { DnsQuery, DnsReply } from '../../support/dns-server.ts'
import { ABSENT, FAILED, FORGED, failing, type Hostile, NOBODY, SILENT } from './hostile.ts'

const OTHERS = /name other servers in SEAWAY_DNS_SERVERS$/

/** Does something else than the zone says, for both names of a domain. */
const acts =
  (how: (query: DnsQuery, reply: DnsReply) => void): Hostile['set'] =>
  (domain, { dns }) => {
    dns.setTxt(`_dnslink.${domain}`, [`dnslink=/ipfs/${NOBODY}`])
    for (const name of [domain, `_dnslink.${domain}`]) dns.behave(name, { handler: how })
  }

/** Over UDP only says that there is more; `how` is over TCP. */
const overTcp = (how: (reply: DnsReply) => void): Hostile['set'] =>
  acts((query, reply) => {
    if (query.transport === 'tcp') how(reply)
    else reply.send({ ...reply.packet, flags: (reply.packet.flags ?? 0) | 0x0200, answers: [] })
  })

const forged = (packet: Packet): Packet => {
  const name = packet.questions?.[0]?.name ?? ''
  return { ...packet, answers: [{ type: 'TXT', name, ttl: 60, data: [`dnslink=/ipfs/${FORGED}`] }] }
}

/** Forged answers that lack nothing but the right id. */
const guesses = (id: number, { packet, send }: DnsReply): void => {
  for (let i = 1; i <= 8; i++) send({ ...forged(packet), id: (id + i) & 0xffff })
}

/** A packet with an answer whose name is a pointer to itself. */
function endless(packet: Packet): Buffer {
  const bytes = encode({ ...packet, answers: [], authorities: [] })
  bytes.writeUInt16BE(1, 6)
  const rest = [0, 16, 0, 1, 0, 0, 0, 1, 0, 0]
  return Buffer.concat([bytes, Buffer.from([0xc0 | (bytes.length >> 8), bytes.length & 0xff, ...rest])])
}

const malformed = [/sent a malformed answer/, OTHERS]

/** The table; every message names the server too. */
export const HOSTILE_SERVERS: readonly Hostile[] = [
  ...(['SERVFAIL', 'REFUSED', 'FORMERR', 'NOTIMP'] as const).map((rcode) =>
    failing(rcode, [new RegExp(`answered ${rcode}`), OTHERS], (domain, { dns }) =>
      dns.behave(`_dnslink.${domain}`, { rcode })
    )
  ),
  {
    what: 'NXDOMAIN',
    ...ABSENT,
    says: [/^no dnslink record/, /looked for TXT "dnslink=\/ipfs\/<CID>" at/],
    set: () => {}
  },
  {
    what: 'silence',
    ...SILENT,
    says: [/did not answer in time/, OTHERS],
    set: acts(() => {})
  },
  {
    what: 'answers with wrong ids',
    ...SILENT,
    says: [/did not answer in time/, OTHERS],
    set: acts(({ id }, reply) => guesses(id, reply))
  },
  {
    what: 'answers with wrong ids in front of the true one',
    ...ABSENT,
    says: [/^no dnslink record/],
    set: acts(({ id }, reply) => {
      guesses(id, reply)
      reply.send({ ...reply.packet, answers: [], flags: 0x8403 })
    })
  },
  {
    what: 'packets that are cut',
    ...FAILED,
    says: malformed,
    set: acts((_, { packet, send }) => {
      const bytes = encode(forged(packet))
      send(bytes.subarray(0, bytes.length - 5))
    })
  },
  {
    what: 'packets that claim more than they hold',
    ...FAILED,
    says: [/it claims \d+ records/, ...malformed],
    set: acts((_, { packet, send }) => {
      const bytes = encode(packet)
      bytes.writeUInt16BE(0xffff, 6)
      send(bytes)
    })
  },
  {
    what: 'a name that does not end',
    ...FAILED,
    says: malformed,
    set: acts((_, { packet, send }) => send(endless(packet)))
  },
  {
    what: 'truncated answers, and nothing over TCP',
    ...FAILED,
    says: [/closed the TCP connection/, OTHERS],
    set: overTcp(({ raw }) => raw(null))
  },
  {
    what: 'truncated answers over TCP too',
    ...FAILED,
    says: [/truncated its answer over TCP too/, OTHERS],
    set: overTcp(({ packet, send }) => send({ ...packet, flags: 0x0200, answers: [] }))
  },
  {
    what: '64 KiB of nonsense over TCP, and more behind it',
    ...FAILED,
    says: [/over TCP/, OTHERS],
    set: overTcp(({ raw }) => raw(Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.alloc(1_000_000, 65)])))
  },
  {
    what: '64 KiB of other records',
    ...ABSENT,
    says: [/^no dnslink record/],
    set: (domain, { dns }) => {
      const records = Array.from({ length: 60 }, (_, i) => `other${i}=`.padEnd(1000, 'x'))
      dns.setTxt(`_dnslink.${domain}`, records)
    }
  },
  {
    what: 'a loop of CNAMEs',
    ...FAILED,
    says: [/^CNAME loop: \S+ → \S+ → /, /has to mend it$/],
    set: (domain, { dns }) => {
      dns.setCname(`_dnslink.${domain}`, `a.${domain}`, { complete: false })
      dns.setCname(`a.${domain}`, `_dnslink.${domain}`, { complete: false })
    }
  },
  {
    what: 'CNAMEs without end',
    ...FAILED,
    says: [/^more than 16 CNAMEs in a row/, /has to mend it$/],
    set: (domain, { dns }) => {
      dns.setCname(`_dnslink.${domain}`, `c0.${domain}`)
      for (let i = 0; i < 40; i++) dns.setCname(`c${i}.${domain}`, `c${i + 1}.${domain}`)
    }
  }
]
