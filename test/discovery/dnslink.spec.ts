import assert from 'node:assert/strict'
import { type Link, parseContentPath, parseDnslink, pickDnslink } from '../../src/discovery/dnslink.ts'
import { KEY, PEER, ROOT, ROOT_V0, ROOT2 } from './support.ts'

/** A link as text, for comparison. */
function shown(link: Link | string | undefined): string | undefined {
  if (link === undefined || typeof link === 'string') return link
  const target = { ipfs: () => ('root' in link ? link.root.toString() : ''), domain: () => '', key: () => '' }
  const name = 'domain' in link ? link.domain : 'name' in link ? link.name : target[link.kind]()
  return `${link.kind} ${name} ${link.path}`.trim()
}

// The cases t06 to t13 of the specification's test suite (https://github.com/dnslink-std/test), in terms of
// what this gateway reads from a record.
describe('discovery: dnslink records', () => {
  it('are read in every form that leads to content', () => {
    const cases: [string, string][] = [
      [`/ipfs/${ROOT}`, `ipfs ${ROOT}`],
      [`/ipfs/${ROOT_V0}`, `ipfs ${ROOT_V0}`],
      [`/ipfs/${ROOT}/`, `ipfs ${ROOT}`],
      [`/ipfs/${ROOT}/a//b/`, `ipfs ${ROOT} a/b`],
      [`/ipfs/${ROOT}/%C3%A4/50%`, `ipfs ${ROOT} ä/50%`],
      [`/ipfs/${ROOT} `, `ipfs ${ROOT}`],
      ['/ipns/Example.COM.', 'domain example.com'],
      ['/ipns/example.com/a/b', 'domain example.com a/b'],
      ['/ipns/xn--bcher-kva.example', 'domain xn--bcher-kva.example'],
      [`/ipns/${KEY}`, `key ${KEY}`],
      [`/ipns/${PEER}/x`, `key ${PEER} x`],
      [`/ipns/${ROOT_V0}`, `key ${ROOT_V0}`],
      ['/ipns/localhost', 'domain localhost'],
      ['/hyper/abc', 'hyper'],
      ['/ /x', ' '],
      ['/ ipfs/x', ' ipfs'],
      ['/ipfs /x', 'ipfs '],
      ['/%E3%81%B5/x', '%E3%81%B5']
    ]
    for (const [value, expected] of cases)
      assert.equal(shown(parseDnslink(`dnslink=${value}`)), expected, value)
  })

  it('are refused with the reason, in the order of the specification', () => {
    const cases: [string, RegExp][] = [
      ['', /begin with \//],
      [' /ipfs/ x', /begin with \//],
      [' //\x19', /begin with \//],
      ['/\x19', /printable ASCII/],
      ['/\x7f', /printable ASCII/],
      ['/フゲ/x', /printable ASCII/],
      ['/ipfs/ホガ', /printable ASCII/],
      ['//\x19', /printable ASCII/],
      ['/', /namespace is missing/],
      ['//', /namespace is missing/],
      ['//x', /namespace is missing/],
      ['/ipfs', /nothing follows/],
      ['/ipfs/', /nothing follows/],
      ['/hyper%', /nothing follows/],
      ['/ipfs/nonsense', /"nonsense" is not a CID/],
      [`/ipfs/${ROOT.slice(0, -2)}`, /not a CID/],
      [`/ipfs/${'z'.repeat(60_000)}`, /a CID of 60000 characters/],
      [`/ipfs/${KEY}`, /is an IPNS name: write \/ipns\//],
      ['/ipns/a..b', /neither a domain nor an IPNS name/],
      [`/ipfs/${ROOT}/..`, /has a part "\.\."/],
      [`/ipfs/${ROOT}/a%2Fb`, /has a part "a\/b"/],
      [`/ipfs/${ROOT}/%00`, /has a part/],
      [`/ipfs/${ROOT}${'/a'.repeat(40)}`, /more than 32 parts/]
    ]
    for (const [value, expected] of cases)
      assert.throws(() => parseDnslink(`dnslink=${value}`), expected, JSON.stringify(value.slice(0, 80)))
  })

  it('are picked in the order of their text, whatever order they came in', () => {
    const [low, high] = [ROOT, ROOT2].sort()
    const records = [`dnslink=/ipns/a.test`, `dnslink=/ipfs/${high}`, 'v=spf1 -all', `dnslink=/ipfs/${low}`]
    for (const order of [records, records.toReversed()]) {
      const picked = pickDnslink(order, 'x.test')
      assert.equal(shown(picked.link), `ipfs ${low}`)
      assert.equal(picked.problems.length, 2)
      assert.match(picked.problems[0] ?? '', /TXT x\.test "dnslink=.*": not used, "dnslink=.*" comes first/)
    }
  })

  it('do not suffer from broken ones beside them, nor from those of other namespaces', () => {
    const picked = pickDnslink(
      [
        'dnslink=/ipfs/AAA',
        'dnslink=/hyper/x',
        `dnslink=/ipfs/${ROOT}`,
        'dnslink:/ipfs/x',
        '"dnslink=/ipfs/x"'
      ],
      'x.test'
    )
    assert.equal(shown(picked.link), `ipfs ${ROOT}`)
    assert.equal(picked.broken, 3)
    assert.equal(picked.problems.length, 4)
    assert.ok(picked.problems.some((problem) => problem.includes('namespace "hyper"')))
    assert.ok(picked.problems.some((problem) => problem.includes('begins almost')))
  })

  it('keep foreign text short and printable in what is said about them', () => {
    const { problems } = pickDnslink([`dnslink=\n\x1b[31m${'x'.repeat(9000)}`], 'x.test')
    assert.ok((problems[0] ?? '').length < 400)
    assert.match(problems[0] ?? '', /^[ -~…]*$/)
  })

  it('share their syntax with the paths that IPNS resolves to', () => {
    assert.equal(shown(parseContentPath(`/ipfs/${ROOT}/a`)), `ipfs ${ROOT} a`)
    assert.throws(() => parseContentPath('/http/x'), /neither an \/ipfs\/ nor an \/ipns\/ path/)
    assert.throws(() => parseContentPath(''), /neither/)
  })
})
