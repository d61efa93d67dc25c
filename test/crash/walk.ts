/** Walks all trees of a data folder by their blocks and blobs, as the store has them, without a gateway. */
import { createHash } from 'node:crypto'
import { cp, mkdir, readdir, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { openStore, type Store } from '../../src/store/index.ts'
import { openIndexDb } from '../../src/store/index-db.ts'

/** What {@link walkTrees} found. */
export interface Walked {
  /** What trees point at that is not there, or is something else than its name says. */
  readonly wrong: string[]
  /** Files and rows of blobs, and blocks, that no tree leads to; complete where nothing was proven before. */
  readonly orphans: readonly string[]
}

/** Files whose bytes were found right, by hex and size: content does not change by itself while a test runs. */
export type Proven = Map<string, number>

/** Walks a copy of the index over the blobs as they are, so that what is to be found by the next start stays. */
export async function walkTrees(data: string, proven: Proven): Promise<Walked> {
  return (await copyToWalk(data))(proven)
}

/** Makes the copy, while no gateway has the folder; what it returns walks it, and may do so while the next one runs. */
export async function copyToWalk(data: string): Promise<(proven: Proven) => Promise<Walked>> {
  const copy = `${data}-walk`
  await rm(copy, { recursive: true, force: true })
  await mkdir(copy)
  await cp(join(data, 'index'), join(copy, 'index'), { recursive: true })
  await symlink(join(data, 'blobs'), join(copy, 'blobs'))
  return async (proven) => {
    const reached: Reached = { blobs: new Set(), blocks: new Set() }
    try {
      const store = await openStore({ folder: copy, reserve: 0 })
      let wrong: string[]
      try {
        wrong = await walk(store, join(data, 'blobs'), proven, reached)
      } finally {
        await store.close()
      }
      return { wrong, orphans: await orphansOf(copy, reached) }
    } finally {
      await rm(copy, { recursive: true, force: true })
    }
  }
}

/** What trees lead to: blobs by the hex of their sha256, blocks by that of their multihash. */
interface Reached {
  readonly blobs: Set<string>
  readonly blocks: Set<string>
}

async function orphansOf(data: string, { blobs, blocks }: Reached): Promise<string[]> {
  const orphans: string[] = []
  for (const part of await readdir(join(data, 'blobs'))) {
    for (const hex of await readdir(join(data, 'blobs', part)))
      if (!blobs.has(hex)) orphans.push(`the file of ${hex}`)
  }
  const db = await openIndexDb(join(data, 'index'))
  for await (const key of db.keys()) {
    const hex = Buffer.from(key.subarray(1)).toString('hex')
    if (key[0] === 'b'.charCodeAt(0) && !blobs.has(hex)) orphans.push(`the row of blob ${hex}`)
    if (key[0] === 'k'.charCodeAt(0) && !blocks.has(hex)) orphans.push(`block ${hex}`)
  }
  await db.close()
  return orphans
}

async function walk(store: Store, folder: string, proven: Proven, reached: Reached): Promise<string[]> {
  const wrong: string[] = []
  const seen = new Set<string>()

  async function block(cid: CID, where: string): Promise<Uint8Array | undefined> {
    reached.blocks.add(Buffer.from(cid.multihash.bytes).toString('hex'))
    const bytes = await store.blocks.find(cid)
    if (bytes === undefined) wrong.push(`${where}: block ${cid} is missing`)
    else if (!createHash('sha256').update(bytes).digest().equals(cid.multihash.digest))
      wrong.push(`${where}: block ${cid} has other bytes`)
    else return bytes
    return undefined
  }

  /** The content of a file, leaf by leaf, into `into`. */
  async function content(cid: CID, where: string, into: (bytes: Uint8Array) => void): Promise<void> {
    const bytes = await block(cid, where)
    if (bytes === undefined) return
    if (cid.code === 0x55) return into(bytes)
    const node = decode(bytes)
    const inner = UnixFS.unmarshal(node.Data ?? new Uint8Array()).data
    if (inner !== undefined) into(inner)
    for (const link of node.Links) await content(link.Hash, where, into)
  }

  async function blob(cid: CID, hex: string, where: string): Promise<void> {
    reached.blobs.add(hex)
    if (seen.has(hex)) return
    seen.add(hex)
    const info = await store.blobs.stat(`sha256:${hex}`)
    if (info === undefined) return void wrong.push(`${where}: the store has no such blob`)
    if (!info.cid.equals(cid)) wrong.push(`${where}: the tree links ${cid}, the blob is ${info.cid}`)
    const file = join(folder, hex.slice(0, 2), hex)
    const { size } = await stat(file).catch(() => ({ size: -1 })) // small ones have none
    if (proven.get(hex) === size) return
    const hash = createHash('sha256')
    await content(cid, where, (bytes) => void hash.update(bytes))
    if (hash.digest('hex') !== hex) wrong.push(`${where}: its bytes have another digest`)
    else if (size >= 0) proven.set(hex, size)
  }

  async function directory(cid: CID, path: string): Promise<void> {
    const bytes = await block(cid, path)
    if (bytes === undefined) return
    const node = decode(bytes)
    const { type } = UnixFS.unmarshal(node.Data ?? new Uint8Array())
    if (type === 'file') return content(cid, path, () => {})
    for (const { Name = '', Hash } of node.Links) {
      const shard = type === 'hamt-sharded-directory'
      const name = shard ? Name.slice(2) : Name
      const below = name === '' ? path : `${path}/${name}`
      const hex = /\/blobs\/sha256\/..\/([0-9a-f]{64})\/data$/.exec(below)?.[1]
      if (hex !== undefined) await blob(Hash, hex, below)
      else if (Hash.code === 0x70) await directory(Hash, below)
      else await block(Hash, below)
    }
  }

  // The current trees, and the published ones that are kept.
  for (const kind of ['root/', 'published/']) {
    for await (const [key, value] of store.records.list(kind)) {
      const { cid, root = cid } = JSON.parse(Buffer.from(value).toString()) as { cid?: string; root?: string }
      await directory(CID.parse(root as string), key)
    }
  }
  return wrong
}
