import assert from 'node:assert/strict'
import { CID } from 'multiformats/cid'
import { pickDnslink } from '../../src/discovery/dnslink.ts'
import { pickProviders } from '../../src/discovery/ipfsnode.ts'
import { escapeString, formatRecords, splitStrings, txtRecord } from '../../src/discovery/records.ts'
import { createResolver } from '../../src/discovery/resolver.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { calm, log, PEER, ROOT } from './support.ts'

const root = CID.parse(ROOT)
const address = `/ip4/192.0.2.1/tcp/4001/p2p/${PEER}`

describe('discovery: records to publish', () => {
  it('are the two that the design fixes, in zone-file and plain form', () => {
    const [link, node] = formatRecords({ domain: 'Example.com.', root, addresses: [address] })
    assert.deepEqual(link, {
      name: '_dnslink.example.com',
      type: 'TXT',
      ttl: 60,
      value: `dnslink=/ipfs/${ROOT}`,
      strings: [`dnslink=/ipfs/${ROOT}`],
      zone: `_dnslink.example.com. 60 IN TXT "dnslink=/ipfs/${ROOT}"`,
      plain: `_dnslink.example.com TXT "dnslink=/ipfs/${ROOT}"`
    })
    assert.equal(node?.value, `ipfsnode=["${address}"]`)
    assert.equal(node?.plain, `example.com TXT "ipfsnode=[\\"${address}\\"]"`)
    assert.equal(node?.zone, `example.com. 60 IN TXT "ipfsnode=[\\"${address}\\"]"`)
  })

  it('are one where no address is announced', () => {
    assert.equal(formatRecords({ domain: 'example.com', root, addresses: [] }).length, 1)
  })

  it('are refused for what is no domain', () => {
    for (const domain of ['', 'a b', 'a..b', `${'abc.'.repeat(62)}com`])
      assert.throws(() => formatRecords({ domain, root, addresses: [] }), { code: 'NAME_INVALID' })
  })

  it('are split at 255 bytes, never within a character', () => {
    assert.deepEqual(splitStrings(''), [''])
    assert.deepEqual(splitStrings('x'.repeat(255)), ['x'.repeat(255)])
    assert.deepEqual(splitStrings('x'.repeat(256)), ['x'.repeat(255), 'x'])
    assert.deepEqual(splitStrings(`${'x'.repeat(254)}ä😀`), ['x'.repeat(254), 'ä😀'])
    const long = txtRecord('a.test', 'y'.repeat(600))
    assert.equal(long.zone, `a.test. 60 IN TXT "${'y'.repeat(255)}" "${'y'.repeat(255)}" "${'y'.repeat(90)}"`)
  })

  it('have quotes, backslashes and what is not printable escaped', () => {
    assert.equal(escapeString('a"b\\c;d\n\u00e4'), 'a\\"b\\\\c;d\\010\\195\\164')
  })

  it('are read back as they were meant, over the wire', async () => {
    const dns = await startDnsServer()
    const resolver = createResolver({ servers: [dns.address], log, timeoutMs: 5000 })
    try {
      const addresses = Array.from({ length: 10 }, (_, i) => `/ip4/192.0.2.${i}/tcp/4001/p2p/${PEER}`)
      for (const { name, strings, ttl } of formatRecords({ domain: 'example.com', root, addresses, ttl: 30 }))
        dns.setTxt(name, [strings], ttl)
      const link = await resolver.txt('_dnslink.example.com', { signal: calm() })
      const picked = pickDnslink(link.records, link.name).link
      assert.ok(picked?.kind === 'ipfs' && picked.root.equals(root))
      const bare = await resolver.txt('example.com', { signal: calm() })
      assert.deepEqual(pickProviders(bare.records, 'example.com'), { providers: addresses, problems: [] })
    } finally {
      await resolver.stop()
      await dns.stop()
    }
  })
})
