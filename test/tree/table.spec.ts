import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { decode, encode, prepare } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { RegistryError } from '../../src/oci/errors.ts'
import { dagPbBlock, rawCid } from '../../src/store/dag.ts'
import type { NamedLink } from '../../src/tree/encode.ts'
import { changeFlat, type DirNode, decodeDirectory, EMPTY_FLAT, type FlatNode } from '../../src/tree/node.ts'
import { scan } from '../../src/tree/table.ts'

const data = new UnixFS({ type: 'directory' }).marshal()
const someCid = (text: string): CID => rawCid(new Uint8Array(createHash('sha256').update(text).digest()))
const hex = (text: string): string => createHash('sha256').update(text).digest('hex')

/** What the library makes of the same links, in the order that it wants them in. */
const byLibrary = (links: Iterable<NamedLink>) =>
  dagPbBlock({
    Data: data,
    Links: [...links].map(({ name, cid, size }) => ({ Name: name, Hash: cid, Tsize: size }))
  })

function flat(bytes: Uint8Array): FlatNode {
  const node = decodeDirectory(dagPbBlock({ Data: data }).cid, bytes)
  return node.kind === 'flat' ? node : assert.fail('it is a shard')
}

const inOrder = (links: ReadonlyMap<string, string>): string[] =>
  [...links].map(([name, link]) => `${name} ${link}`).toSorted()

const plain = (node: FlatNode) => [...node.links].map(([name, { cid, size }]) => `${name} ${cid} ${size}`)

describe('a directory read without taking it apart', () => {
  const names = [
    'a',
    'b',
    'link',
    'é',
    '日本',
    'x'.repeat(300),
    ...Array.from({ length: 500 }, (_, i) => hex(`${i}`))
  ]
  const links = names.map((name, i) => ({ name, cid: someCid(name), size: i * 1000 }))

  it('finds each name and no other', () => {
    const node = flat(byLibrary(links).bytes)
    assert.equal(node.links.size, names.length)
    for (const { name, cid, size } of links) assert.deepEqual(node.links.get(name), { cid, size })
    for (const none of ['', 'c', 'lin', 'links', '日', '\uffff', hex('none')])
      assert.equal(node.links.get(none), undefined)
    assert.equal(
      node.table.total,
      links.reduce((sum, { size }) => sum + size, 0)
    )
  })

  it('is changed into what the library makes of the result, whatever changes', () => {
    const expected = new Map<string, NamedLink>()
    let node = EMPTY_FLAT
    for (let step = 0; step < 300; step++) {
      const puts = new Map<string, NamedLink | undefined>()
      for (let i = 0; i <= step % 4; i++) {
        const name = hex(`${(step * 7 + i * 31) % 97}`).slice(0, 1 + ((step + i) % 9))
        const link = step % 3 === 2 ? undefined : { name, cid: someCid(`${step}`), size: step ** 5 }
        puts.set(name, link)
        if (link === undefined) expected.delete(name)
        else expected.set(name, link)
      }
      const made = changeFlat(node, puts)
      const { bytes, cid } = byLibrary(expected.values())
      assert.deepEqual(Buffer.from(made.block.bytes), Buffer.from(bytes), `step ${step}`)
      assert.ok(made.block.cid.equals(cid))
      assert.deepEqual(plain(made.node), plain(flat(bytes)))
      node = made.node
    }
  })

  it('of a stranger may be written otherwise, and is read as the library reads it', () => {
    const [a, b] = [someCid('a'), CID.parse('QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn')]
    const link = (Name: string | undefined, Hash: CID, Tsize: number | undefined) =>
      encode(prepare({ Links: [{ Name, Hash, Tsize }] as never }))
    const end = encode(prepare({ Data: data }))
    const block = (...pieces: Uint8Array[]) => Buffer.concat(pieces)
    // data first, names out of order, a name twice, no sizes
    const odd = {
      'data first': block(end, link('a', a, 1), link('b', b, 2)),
      'out of order': block(link('b', b, 2), link('a', a, 1), end),
      'a name twice': block(link('a', b, 5), link('a', a, 1), end),
      'no size': block(link('a', a, undefined), end),
      'no name': block(link(undefined, a, 1), end)
    }
    for (const [what, bytes] of Object.entries(odd)) {
      const expected = new Map(
        decode(bytes).Links.map(({ Name = '', Hash, Tsize = 0 }) => [Name, `${Hash} ${Tsize}`])
      )
      assert.equal(scan(bytes), undefined, what)
      const found = new Map([...flat(bytes).links].map(([name, { cid, size }]) => [name, `${cid} ${size}`]))
      assert.deepEqual(inOrder(found), inOrder(expected), what)
    }
  })

  it('that was damaged is refused, or read as the library reads it', () => {
    const whole = byLibrary(links.slice(0, 12)).bytes
    let [refused, read] = [0, 0]
    for (let i = 0; i < 6000; i++) {
      const random = createHash('sha256').update(`damage ${i}`).digest()
      const bytes = Buffer.from(whole)
      for (let k = 0; k <= i % 2; k++)
        bytes[random.readUInt16LE(4 * k) % bytes.length] = random[20 + k] as number
      const cut = i % 3 === 0 ? bytes.subarray(0, random.readUInt16LE(12) % bytes.length) : bytes
      let node: DirNode
      try {
        node = decodeDirectory(someDirectory, cut)
      } catch (error) {
        assert.ok(error instanceof RegistryError && error.code === 'SOURCE_FAILED', String(error))
        refused++
        continue
      }
      read++
      const { Links } = decode(cut)
      const last = new Map(Links.map(({ Name = '', Hash, Tsize = 0 }) => [Name, `${Hash} ${Tsize}`]))
      if (node.kind !== 'flat') continue
      const found = new Map([...node.links].map(([name, { cid, size }]) => [name, `${cid} ${size}`]))
      assert.deepEqual(inOrder(found), inOrder(last), `damage ${i}`)
    }
    assert.ok(refused > 500 && read > 500, `${refused} refused, ${read} read`)
  })

  const someDirectory = dagPbBlock({ Data: data }).cid
})
