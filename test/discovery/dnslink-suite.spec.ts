import assert from 'node:assert/strict'
import { createDiscovery, type Discovery } from '../../src/discovery/index.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { calm, clock, log, memoryRecords, ROOT, ROOT2 } from './support.ts'

const LONG = `${'abcdefghijklmnopqrstuvwxyz0123456789.'.repeat(6)}abcdefghijklmnopqrstuv`

/** What a domain's resolution is to give: a root, or an error's code with words of its message. */
type Outcome = string | { code: string; says: RegExp }

interface Case {
  readonly what: string
  readonly records: Record<string, string[]>
  /** By the name that is asked for. */
  readonly gives: Record<string, Outcome>
}

const to = (root: string): string => `dnslink=/ipfs/${root}`
const nothing = { code: 'NAME_UNKNOWN', says: /no dnslink record for/ }
const broken = (says: RegExp): Outcome => ({ code: 'SOURCE_FAILED', says })

/**
 * What the specification's suite (https://github.com/dnslink-std/test, t01 to t15) asks, in terms of a reader
 * that wants the one registry tree of a domain: namespaces are `ipfs` and `ipns`, of several links one is used.
 */
const CASES: readonly Case[] = [
  {
    what: 't01: TXT records, but no dnslink',
    records: { 'a.test': ['txtentry=now'] },
    gives: { 'a.test': nothing }
  },
  { what: 't02: a link at the domain alone', records: { 'a.test': [to(ROOT)] }, gives: { 'a.test': ROOT } },
  {
    what: 't03: a _dnslink without a link hides the domain',
    records: { 'a.test': [to(ROOT)], '_dnslink.a.test': ['txtentry=now'] },
    gives: { 'a.test': { code: 'NAME_UNKNOWN', says: /does not count/ } }
  },
  {
    what: 't04: a link at _dnslink goes before that of the domain, also when asked for by that name',
    records: { 'a.test': [to(ROOT)], '_dnslink.a.test': [to(ROOT2)] },
    gives: { 'a.test': ROOT2, '_dnslink.a.test': ROOT2 }
  },
  {
    what: 't05: _dnslink over and over',
    records: {
      'a.test': [to(ROOT)],
      '_dnslink.a.test': [to(ROOT)],
      '_dnslink._dnslink.a.test': [to(ROOT2)],
      '_dnslink._dnslink._dnslink.a.test': [to(ROOT)]
    },
    gives: {
      '_dnslink.a.test': ROOT,
      '_dnslink._dnslink.a.test': ROOT2,
      '_dnslink._dnslink._dnslink.a.test': ROOT,
      '_dnslink._dnslink._dnslink._dnslink.a.test': ROOT
    }
  },
  {
    what: 't06: the value begins with a slash',
    records: { '_dnslink.a.test': ['dnslink='], '_dnslink.b.test': [`dnslink= /ipfs/ ${ROOT}`] },
    gives: { 'a.test': broken(/has to begin with \//), 'b.test': broken(/has to begin with \//) }
  },
  {
    what: 't07: printable ASCII only',
    records: {
      '_dnslink.a.test': ['dnslink=/\u0019'],
      '_dnslink.b.test': ['dnslink=/\u007f'],
      '_dnslink.c.test': ['dnslink=/フゲ/UVWX'],
      '_dnslink.d.test': ['dnslink=/ipfs/ホガ'],
      '_dnslink.e.test': ['dnslink=/フゲ/UVWX', to(ROOT), 'dnslink=/\u0019']
    },
    gives: {
      'a.test': broken(/printable ASCII/),
      'b.test': broken(/printable ASCII/),
      'c.test': broken(/printable ASCII/),
      'd.test': broken(/printable ASCII/),
      'e.test': ROOT
    }
  },
  {
    what: 't08: a namespace is needed',
    records: { '_dnslink.a.test': ['dnslink=/'], '_dnslink.b.test': [`dnslink=//${ROOT}`] },
    gives: { 'a.test': broken(/namespace is missing/), 'b.test': broken(/namespace is missing/) }
  },
  {
    what: 't09: an identifier is needed',
    records: { '_dnslink.a.test': ['dnslink=/ipfs'], '_dnslink.b.test': ['dnslink=/ipns/'] },
    gives: { 'a.test': broken(/nothing follows/), 'b.test': broken(/nothing follows/) }
  },
  {
    what: 't10: of several reasons the first one of the specification is given',
    records: {
      '_dnslink.a.test': ['dnslink= //\u0019'],
      '_dnslink.b.test': ['dnslink=//\u0019'],
      '_dnslink.c.test': ['dnslink=//']
    },
    gives: {
      'a.test': broken(/has to begin with \//),
      'b.test': broken(/printable ASCII/),
      'c.test': broken(/namespace is missing/)
    }
  },
  {
    what: 't11, t12: of several links the first in byte order, and other namespaces aside',
    records: {
      '_dnslink.a.test': [to(ROOT), to(ROOT2), 'dnslink=/ns_1/4567', 'dnslink=/zz/1'],
      '_dnslink.b.test': ['dnslink=/ipns/c.test', to(ROOT2)],
      '_dnslink.d.test': ['dnslink=/ns_1/4567']
    },
    gives: {
      'a.test': [ROOT, ROOT2].sort()[0] as string,
      'b.test': ROOT2,
      'd.test': { code: 'NAME_UNKNOWN', says: /namespace "ns_1"/ }
    }
  },
  {
    what: 't13: odd links that are valid all the same',
    records: {
      '_dnslink.a.test': [`dnslink=/ipfs/${ROOT} `],
      '_dnslink.b.test': ['dnslink=/ /AAFG', 'dnslink=/ipfs / AAHI ', 'dnslink=/%E3%81%B5/x', to(ROOT)],
      '_dnslink.c.test': ['dnslink=/dnslink/AA89']
    },
    gives: { 'a.test': ROOT, 'b.test': ROOT, 'c.test': { code: 'NAME_UNKNOWN', says: /namespace "dnslink"/ } }
  },
  {
    what: 't15: uncommon names that are names',
    records: Object.fromEntries(
      [
        'xn--froschgrn-x9a.test',
        '1337.test',
        `${'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(2).slice(0, 63)}.test`,
        '4b.test',
        'foo--bar.test',
        '_.7.test',
        '*.8.test',
        's!ome.9.test',
        'xn--bcher-kva.test',
        'xn--d1abbgf6aiiy.xn--p1ai',
        LONG,
        'abc',
        'example.0',
        '127.0.0.1',
        '256.0.0.0',
        '192.168.0',
        '123'
      ].map((name) => [`_dnslink.${name}`, [to(ROOT)]])
    ),
    gives: Object.fromEntries(
      [
        'froschgrün.test',
        '1337.test',
        `${'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(2).slice(0, 63)}.test`,
        '4b.test',
        'foo--bar.test',
        '_.7.test',
        '*.8.test',
        's!ome.9.test',
        'Bücher.test',
        'президент.рф',
        LONG,
        'abc',
        'example.0',
        '127.0.0.1',
        '256.0.0.0',
        '192.168.0',
        '123'
      ].map((name) => [name, ROOT])
    )
  },
  {
    what: 't15, but refused here: what is ambiguous in an image name, a URL or a log line',
    records: {},
    gives: Object.fromEntries(
      ['dnslink.dev/abcd?foo=bar', '\uFFFD.test', `${LONG}x`.repeat(2)].map((name) => [
        name,
        { code: 'NAME_INVALID', says: /is not a domain name/ }
      ])
    )
  },
  {
    what: 'beyond the suite: a name too long for _dnslink in front of it',
    records: { [`${LONG}.abcdefgh`]: [to(ROOT)] },
    gives: { [`${LONG}.abcdefgh`]: { code: 'NAME_UNKNOWN', says: /too long a name/ } }
  },
  {
    what: 'beyond the suite: recursion through /ipns/, with paths',
    records: {
      '_dnslink.a.test': ['dnslink=/ipns/b.test/one'],
      'b.test': ['dnslink=/ipns/c.test'],
      '_dnslink.c.test': [`${to(ROOT)}/two`]
    },
    gives: { 'a.test': `${ROOT}/two/one`, 'b.test': `${ROOT}/two` }
  }
]

describe("discovery: the dnslink specification's cases", () => {
  let dns: DnsServer
  let discovery: Discovery

  beforeEach(async () => {
    dns = await startDnsServer()
    const options = { servers: [dns.address], log, records: memoryRecords(), timeoutMs: 3000 }
    discovery = createDiscovery({ ...options, now: clock().now })
  })
  afterEach(async () => {
    await discovery.stop()
    await dns.stop()
  })

  for (const { what, records, gives } of CASES)
    it(what, async () => {
      for (const [name, texts] of Object.entries(records)) dns.setTxt(name, texts)
      for (const [name, outcome] of Object.entries(gives)) {
        const found = discovery.resolve(name, { signal: calm() })
        if (typeof outcome === 'string') {
          const { root, path } = await found
          assert.equal([root, path].filter(String).join('/'), outcome, name)
        } else await assert.rejects(found, { code: outcome.code, message: outcome.says }, name)
      }
    })

  // t14; YXDOMAIN and the like answer no question, and a server that is at a loss is not one that says no
  const codes = { FORMERR: 1, SERVFAIL: 2, NOTIMP: 4, REFUSED: 5, YXDOMAIN: 6, YXRRSET: 7, NXRRSET: 8 }
  for (const [rcode, flags] of Object.entries({ ...codes, NOTAUTH: 9, NOTZONE: 10, RCODE_11: 11 }))
    it(`t14: ${rcode} is a failure, and named`, async () => {
      dns.setTxt('a.test', [to(ROOT)])
      dns.behave('_dnslink.a.test', {
        handler: (_, { packet, send }) => send({ ...packet, flags, answers: [], authorities: [] })
      })
      await assert.rejects(discovery.resolve('a.test', { signal: calm() }), {
        code: 'SOURCE_FAILED',
        message: new RegExp(`${dns.address} answered ${rcode}`)
      })
    })
  it('t14: NXDOMAIN is an answer', async () => {
    await assert.rejects(discovery.resolve('a.test', { signal: calm() }), {
      code: nothing.code,
      message: nothing.says
    })
  })
})
