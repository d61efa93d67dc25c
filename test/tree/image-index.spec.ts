import assert from 'node:assert/strict'
import { decode } from '@ipld/dag-pb'
import { MemoryBlockstore } from 'blockstore-core'
import { exporter } from 'ipfs-unixfs-exporter'
import { digestOf } from '../../src/oci/digest.ts'
import { OCI_MANIFEST } from '../../src/oci/media-types.ts'
import { type Block, rawCid } from '../../src/store/dag.ts'
import { changeIndex, createIndexCache, type Listed } from '../../src/tree/image-index.ts'
import { keyOf, type Link, UnsoundTree } from '../../src/tree/node.ts'
import { randomOf } from '../fuzz/random.ts'

const signal = new AbortController().signal

/** Indexes in memory; each change is made by somebody who remembers nothing. */
function memory() {
  const blocks = new Map<string, Block>()
  const change = async (
    old: Link | undefined,
    changes: Iterable<readonly [string, Listed | undefined]>
  ): Promise<{ link: Link; made: Map<string, Block> }> => {
    const made = new Map<string, Block>()
    const load = async ({ bytes }: { bytes: Uint8Array }) => {
      const key = Buffer.from(bytes).toString('latin1')
      return (blocks.get(key) ?? assert.fail('a block that was never made')).bytes
    }
    const link = await changeIndex(old, new Map(changes), {
      load,
      cache: createIndexCache(),
      blocks: made,
      signal
    })
    for (const [key, block] of made) blocks.set(key, block)
    return { link, made }
  }
  return { blocks, change }
}

/** The file as any reader of UnixFS reads it. */
async function fileOf(link: Link, blocks: ReadonlyMap<string, Block>): Promise<string> {
  const store = new MemoryBlockstore()
  for (const { cid, bytes } of blocks.values()) await store.put(cid, bytes)
  const entry = await exporter(link.cid, store)
  assert.ok(entry.type === 'file' || entry.type === 'raw')
  const chunks: Uint8Array[] = []
  for await (const chunk of entry.content()) chunks.push(chunk)
  const file = Buffer.concat(chunks)
  assert.equal(BigInt(file.length), entry.size)
  return file.toString()
}

interface Index {
  schemaVersion: number
  mediaType: string
  manifests: (Listed & { annotations: Record<string, string> })[]
}

const listed = (text: string): Listed => ({
  mediaType: OCI_MANIFEST,
  digest: digestOf(Buffer.from(text)),
  size: text.length
})

async function assertLists(
  link: Link,
  blocks: ReadonlyMap<string, Block>,
  tags: ReadonlyMap<string, Listed>
): Promise<void> {
  const index = JSON.parse(await fileOf(link, blocks)) as Index
  assert.equal(index.schemaVersion, 2)
  assert.equal(index.mediaType, 'application/vnd.oci.image.index.v1+json')
  const found = index.manifests.map(({ annotations, ...descriptor }) => [
    annotations['org.opencontainers.image.ref.name'] ?? '',
    descriptor
  ])
  assert.deepEqual(Object.fromEntries(found), Object.fromEntries(tags))
  assert.equal(found.length, tags.size)
}

describe('the index.json of an image layout', () => {
  it('lists nothing, or one tag', async () => {
    const { blocks, change } = memory()
    const { link } = await change(undefined, [])
    await assertLists(link, blocks, new Map())
    const one = await change(link, [['1', listed('one')]])
    await assertLists(one.link, blocks, new Map([['1', listed('one')]]))
    assert.deepEqual((await change(one.link, [['1', undefined]])).link, link)
  })

  it('is JSON with every tag after any changes, and the same file whatever order they came in', async () => {
    for (const seed of [1, 2, 3]) {
      const random = randomOf(seed, 0)
      const { blocks, change } = memory()
      const tags = new Map<string, Listed>()
      let link: Link | undefined
      for (let step = 0; step < 60; step++) {
        const changes = new Map<string, Listed | undefined>()
        const shrinking = step % 20 > 13
        for (let i = 1 + random.below(40); i > 0; i--) {
          const tag = shrinking && tags.size > 0 ? random.pick([...tags.keys()]) : `v${random.below(900)}`
          const gone = shrinking ? !random.oneIn(10) : random.oneIn(5)
          const to = gone ? undefined : listed(`${seed} ${step} ${i}`)
          changes.set(tag, to)
          if (to === undefined) tags.delete(tag)
          else tags.set(tag, to)
        }
        link = (await change(link, changes)).link
        await assertLists(link, blocks, tags)
        const atOnce = await memory().change(undefined, tags)
        assert.deepEqual(link, atOnce.link, `seed ${seed}, step ${step}, ${tags.size} tags`)
      }
    }
  })

  it('has one first line, whichever part it is in', async () => {
    const { blocks, change } = memory()
    const digit = (tag: string): string => digestOf(Buffer.from(tag)).slice('sha256:'.length)[0] ?? ''
    const all = Array.from({ length: 150 }, (_, i) => `t${i}`).sort((a, b) => (digit(a) < digit(b) ? 1 : -1))
    const tags = new Map<string, Listed>()
    let link: Link | undefined
    // From the last part to the first, and back.
    for (const tag of [...all, ...all.toReversed()]) {
      const to = tags.has(tag) ? undefined : listed(tag)
      if (to === undefined) tags.delete(tag)
      else tags.set(tag, to)
      link = (await change(link, [[tag, to]])).link
      if (tags.size % 3 === 0) await assertLists(link, blocks, tags)
    }
  })

  it('changes in few places, however many tags it has', async () => {
    const { blocks, change } = memory()
    const tags = new Map(Array.from({ length: 20_000 }, (_, i) => [`build-${i}`, listed(`image ${i}`)]))
    const { link } = await change(undefined, tags)
    await assertLists(link, blocks, tags)
    const bytes = (made: Map<string, Block>) =>
      [...made.values()].reduce((sum, block) => sum + block.bytes.length, 0)
    for (const changes of [
      [['more', listed('more')]],
      [['build-7', listed('other')]],
      [['build-9', undefined]]
    ] as [string, Listed | undefined][][]) {
      const { made } = await change(link, changes)
      assert.ok(made.size <= 8, `${made.size} blocks`)
      assert.ok(bytes(made) < 16_000, `${bytes(made)} bytes`)
    }
  })

  it('says how long its DAG is', async () => {
    const { blocks, change } = memory()
    const tags = Array.from({ length: 200 }, (_, i) => [`t${i}`, listed(`image ${i}`)] as const)
    const { link } = await change(undefined, tags)
    const total = (key: string): number => {
      const { bytes, cid } = blocks.get(key) ?? assert.fail('it is not here')
      const links = cid.code === 0x70 ? decode(bytes).Links : []
      return links.reduce((sum, { Hash, Tsize }) => {
        assert.equal(total(keyOf(Hash)), Tsize)
        return sum + (Tsize ?? 0)
      }, bytes.length)
    }
    assert.equal(total(keyOf(link.cid)), link.size)
  })

  it('of another making is refused, not misread', async () => {
    const { blocks, change } = memory()
    for (const text of ['', '{}', '{"schemaVersion":2,"manifests":[]}', 'x'.repeat(100)]) {
      const bytes = Buffer.from(text)
      const digest = digestOf(bytes).slice('sha256:'.length)
      const cid = rawCid(Buffer.from(digest, 'hex'))
      blocks.set(keyOf(cid), { cid, bytes })
      await assert.rejects(change({ cid, size: bytes.length }, [['1', listed('one')]]), UnsoundTree)
    }
  })
})
