import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { dagPbBlock, rawCid } from '../../src/store/dag.ts'
import type { NamedLink } from '../../src/tree/encode.ts'
import { tableOf } from '../../src/tree/table.ts'

const data = new UnixFS({ type: 'directory' }).marshal()
const someCid = (text: string): CID => rawCid(createHash('sha256').update(text).digest())

/** What the library makes of the same links. */
function byLibrary(links: readonly NamedLink[]) {
  return dagPbBlock({
    Data: data,
    Links: links.map(({ name, cid, size }) => ({ Name: name, Hash: cid, Tsize: size }))
  })
}

describe('the encoding of a directory', () => {
  const old = CID.parse('QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn')
  const cases: Record<string, NamedLink[]> = {
    nothing: [],
    'one link': [{ name: 'link', cid: someCid('a'), size: 71 }],
    'names out of order': ['b', 'a', 'B', 'a-b', 'a.b', 'ab', '_x', '10', '9'].map((name, i) => ({
      name,
      cid: someCid(name),
      size: i
    })),
    'names beyond ASCII': ['é', 'z', '\u{1f600}', '\uffff', 'e\u0301', '日本'].map((name) => ({
      name,
      cid: someCid(name),
      size: 1
    })),
    'old and new CIDs': [
      { name: 'new', cid: someCid('n'), size: 5 },
      { name: 'old', cid: old, size: 6 }
    ],
    'sizes of every length': [0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 + 5, 2 ** 40, 2 ** 52 + 1].map(
      (size) => ({ name: String(size), cid: someCid('s'), size })
    ),
    'long names': [127, 128, 300].map((length) => ({
      name: 'n'.repeat(length),
      cid: someCid('l'),
      size: 1
    })),
    'a thousand links': Array.from({ length: 1000 }, () => ({
      name: randomBytes(8).toString('hex'),
      cid: someCid('t'),
      size: 9
    }))
  }
  for (const [what, links] of Object.entries(cases)) {
    it(`is that of the library for ${what}`, () => {
      const expected = byLibrary(links)
      const { block: made } = tableOf(links, data)
      assert.deepEqual(Buffer.from(made.bytes), Buffer.from(expected.bytes))
      assert.ok(made.cid.equals(expected.cid))
    })
  }
})
