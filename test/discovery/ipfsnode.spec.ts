import assert from 'node:assert/strict'
import { MAX_PROVIDERS, pickProviders } from '../../src/discovery/ipfsnode.ts'
import { PEER, ROOT_V0 } from './support.ts'

const TCP = `/ip4/192.0.2.1/tcp/4001/p2p/${PEER}`
const WS = '/dns4/example.com/tcp/443/wss'
const HTTP = '/ip6/2001:db8::1/tcp/8080/http'

describe('discovery: ipfsnode records', () => {
  const all = { providers: [TCP, WS, HTTP], problems: [] }

  it('are read as a JSON array, the original form', () => {
    assert.deepEqual(pickProviders([`ipfsnode=${JSON.stringify([TCP, WS, HTTP])}`], 'a.test'), all)
    assert.deepEqual(pickProviders(['ipfsnode=[]'], 'a.test'), { providers: [], problems: [] })
    assert.deepEqual(pickProviders([`ipfsnode="${TCP}"`], 'a.test').providers, [TCP])
  })

  it('are read as plain addresses, in one record or several', () => {
    assert.deepEqual(pickProviders([`ipfsnode=${TCP},${WS}, ${HTTP}`], 'a.test'), all)
    assert.deepEqual(pickProviders([`ipfsnode= ${TCP}  ${WS}\t${HTTP} `], 'a.test'), all)
    assert.deepEqual(
      pickProviders([`ipfsnode=${TCP}`, 'v=spf1', `ipfsnode=["${WS}"]`, `ipfsnode=${HTTP}`], 'a.test'),
      all
    )
  })

  it('name each address once, in normal form', () => {
    const old = `/ip4/192.0.2.1/tcp/4001/ipfs/${PEER}`
    assert.deepEqual(pickProviders([`ipfsnode=${TCP} ${old} ${TCP}/`], 'a.test').providers, [TCP])
  })

  it('may name peers without an address, by DNS, and by way of relays', () => {
    const addresses = [
      `/p2p/${PEER}`,
      `/p2p/${ROOT_V0}`,
      '/dnsaddr/example.com',
      `${TCP}/p2p-circuit/p2p/${PEER}`,
      '/ip4/192.0.2.1/udp/4001/quic-v1'
    ]
    assert.deepEqual(pickProviders([`ipfsnode=${addresses.join(',')}`], 'a.test'), {
      providers: addresses,
      problems: []
    })
  })

  it('are reported where they do not parse, and the good ones beside them used', () => {
    const bad: [string, RegExp][] = [
      ['/ip4/999.1.1.1/tcp/1', /Invalid IPv4/],
      ['/carrier/pigeon', /Protocol carrier was unknown/],
      ['192.0.2.1:4001', /not a multiaddr/],
      ['/ip4/192.0.2.1/tcp/99999', /65535/],
      ['/ip4/192.0.2.1/tcp/0', /port 0/],
      ['/ip4/192.0.2.1/tcp', /missing value/],
      [`/ip4/192.0.2.1/tcp/1/p2p/QmShort`, /not a peer id/],
      ['/ip4/192.0.2.1/tcp/1/p2p/bafkqaaa', /not a peer id/],
      ['/dns4/a..b/tcp/1', /no name/],
      ['/memory/1', /no address on a network/],
      ['/', /no host/],
      ['/tcp/4001', /no host/],
      [`/dns4/${'a'.repeat(2000)}/tcp/1`, /longer than/]
    ]
    for (const [address, reason] of bad) {
      const { providers, problems } = pickProviders([`ipfsnode=["${address}","${TCP}"]`], 'a.test')
      assert.deepEqual(providers, [TCP], address)
      assert.equal(problems.length, 1)
      assert.match(problems[0] ?? '', reason)
      assert.ok((problems[0] ?? '').startsWith('TXT a.test "'))
    }
  })

  it('are reported where the record itself is broken', () => {
    for (const [record, reason] of [
      ['ipfsnode=', /names no address/],
      ['ipfsnode=["/ip4', /not valid JSON/],
      ['ipfsnode=[{"a":1}]', /has to be a string/],
      ['ipfsnode=[null]', /has to be a string/],
      [`ipfsnode=${'['.repeat(10_000)}`, /not valid JSON/],
      [`ipfsnode=${'/ip4/1.1.1.1 '.repeat(2000)}`, /longer than/],
      ['ipfsnode: /ip4/192.0.2.1/tcp/1', /begins almost/],
      ['"ipfsnode=/ip4/192.0.2.1/tcp/1"', /begins almost/]
    ] as [string, RegExp][]) {
      const { providers, problems } = pickProviders([record], 'a.test')
      assert.deepEqual(providers, [])
      assert.match(problems[0] ?? '', reason, record.slice(0, 40))
    }
  })

  it('are limited in number, and so are the complaints', () => {
    const many = Array.from({ length: 200 }, (_, i) => `/ip4/192.0.2.${i}/tcp/4001`)
    const { providers, problems } = pickProviders([`ipfsnode=${JSON.stringify(many)}`], 'a.test')
    assert.deepEqual(providers, many.slice(0, MAX_PROVIDERS))
    assert.equal(problems.length, 32)
  })
})
