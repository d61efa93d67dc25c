import { type FileHandle, rename, rm } from 'node:fs/promises'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import type { CarPiece } from '../ipfs/car.ts'
import { readManifest } from '../oci/manifest.ts'
import { dagPbBlock } from '../store/dag.ts'
import type { Block } from '../store/index.ts'
import { type Content, joinChanges, type LoadBlock, previewChange, putManifest } from '../tree/index.ts'
import type { Server } from '../upstream/server.ts'
import type { Reply } from '../upstream/wire.ts'
import { carHeader, checkedCar, frameHead, frameLength, piecesOf, readCarHeader } from './car-blocks.ts'
import { openOutput, outputAt, toStdout } from './files.ts'
import { createTreeSource, openRoot } from './tree-source.ts'
import { MoveError, Refused } from './types.ts'

const NOTHING = dagPbBlock({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: [] })

/** A tree that can be exported: its root, and all its blocks in an order that is always the same. */
export interface Exported {
  readonly root: CID
  pieces(signal: AbortSignal): AsyncIterable<CarPiece>
}

/** The largest answer with one block, in bytes. */
const MAX_BLOCK = 16 * 1024 * 1024

const get = ({ url, wire }: Server, path: string, signal: AbortSignal): Promise<Reply> =>
  wire.send({ method: 'GET', url: new URL(path, url), headers: { 'user-agent': 'seaway' }, signal })

/** Blocks of a gateway, one by one. */
export function gatewayBlocks(gateway: Server): LoadBlock {
  return async (cid, signal) => {
    const reply = await get(gateway, `/ipfs/${cid.toString()}?format=raw`, signal)
    const bytes = await gateway.wire.read(reply, MAX_BLOCK)
    if (reply.status === 404)
      throw new Refused(`${cid.toString()} is not here; pull the images first`, { unknown: true })
    if (reply.status !== 200)
      throw new MoveError(`the gateway answered ${reply.status} for ${cid.toString()}`)
    return bytes
  }
}

/** A root with all below it. */
export function wholeRoot(gateway: Server, root: CID): Exported {
  return { root, pieces: (signal) => carFrom(gateway, root, signal) }
}

async function* carFrom(gateway: Server, root: CID, signal: AbortSignal): AsyncGenerator<CarPiece> {
  const path = `/ipfs/${root.toString()}?format=car&dag-scope=all&car-dups=n`
  const reply = await get(gateway, path, signal)
  if (reply.status !== 200) {
    reply.body.destroy()
    throw new Refused(`${root.toString()} is not here; 'seaway pull' its images first`, { unknown: true })
  }
  try {
    yield* checkedCar(gateway.wire.chunks(reply), `the gateway's answer`, signal)
  } catch (error) {
    signal.throwIfAborted()
    // a CAR that breaks off is one with a block that isn't here
    throw new MoveError(
      `part of ${root.toString()} is not here, or is damaged (seaway verify): pull its images first, then run this again; it goes on where it stopped`,
      { cause: error }
    )
  }
}

/**
 * One repository of a tree, as a tree of its own: its manifests, tags and referrers, and the content that they need.
 * The directories are made here; the content is the gateway's.
 *
 * @param repository its name in the tree
 * @throws {Refused} for a repository that the tree hasn't got
 */
export async function oneRepository(
  gateway: Server,
  tree: CID,
  repository: string,
  signal: AbortSignal
): Promise<Exported> {
  const load = gatewayBlocks(gateway)
  const view = openRoot(tree, load)
  if (!(await view.hasRepository(repository, signal)))
    throw new Refused(`there is no repository ${repository} here; seaway images lists them`, {
      unknown: true
    })
  const source = createTreeSource(view, load, repository, repository)
  const contents = new Map<string, Content>()
  const content = async (digest: Content['digest']): Promise<Content> => {
    const link = await view.blob(digest, signal)
    if (link === undefined) throw new MoveError(`${repository} is incomplete: ${digest} is not in its tree`)
    const found = { digest, link }
    contents.set(digest, found)
    return found
  }
  const tags = new Map<string, string[]>()
  for (const tag of await view.tags(repository, signal)) {
    const digest = await view.tag(repository, tag, signal)
    if (digest !== undefined) tags.set(digest, [...(tags.get(digest) ?? []), tag])
  }
  const changes = []
  for await (const digest of view.manifests(repository, signal)) {
    const manifest = await source.manifest(digest, signal)
    const read = readManifest(manifest.bytes, manifest.mediaType)
    changes.push(
      putManifest({
        name: repository,
        manifest: await content(digest),
        tags: tags.get(digest) ?? [],
        blobs: await Promise.all(read.blobs.map((blob) => content(blob.digest))),
        subject: read.subject?.digest,
        mediaType: read.selfDescribing ? undefined : manifest.mediaType
      })
    )
  }
  const change = joinChanges(changes)
  const own = new Map<string, Block>()
  for (const block of [NOTHING, ...change.blocks]) own.set(block.cid.toString(), block)
  const made = await previewChange(
    NOTHING.cid,
    change,
    async (cid, until) => own.get(cid.toString())?.bytes ?? load(cid, until),
    signal
  )
  for (const block of made.blocks) own.set(block.cid.toString(), block)
  if (made.root.toString() !== NOTHING.cid.toString()) own.delete(NOTHING.cid.toString())
  return { root: made.root, pieces: (until) => pieces(until) }

  async function* pieces(until: AbortSignal): AsyncGenerator<CarPiece> {
    const written = new Set<string>()
    const files = [...contents.values()]
      .map(({ link }) => link.cid)
      .sort((a, b) => (a.toString() < b.toString() ? -1 : 1))
    for (const { cid, bytes } of [...own.values()].sort((a, b) =>
      a.cid.toString() < b.cid.toString() ? -1 : 1
    )) {
      written.add(cid.toString())
      yield { cid, size: bytes.length, at: 0, data: bytes, last: true }
    }
    for (const file of files) {
      for await (const piece of carFrom(gateway, file, until)) {
        const key = piece.cid.toString()
        if (written.has(key)) continue
        if (piece.last) written.add(key)
        yield piece
      }
    }
  }
}

/** How a file was written. */
export interface Written {
  readonly root: CID
  readonly blocks: number
  readonly bytes: number
  /** Bytes that an earlier command had written already. */
  readonly resumed: number
}

/**
 * Writes a CAR file, `-` for stdout. It has the name `<path>.part` until it is whole and on disk; what is in there
 * from a command before is checked and kept as far as it is right, if it is of the same root.
 */
export async function writeCarFile(
  path: string,
  exported: Exported,
  count: (bytes: number) => void,
  signal: AbortSignal
): Promise<Written> {
  const header = carHeader(exported.root)
  if (path === '-') {
    const { blocks, bytes } = await copyPieces(
      exported,
      header.length,
      0,
      signal,
      count,
      (chunk) => toStdout(chunk, signal),
      header
    )
    return { root: exported.root, blocks, bytes, resumed: 0 }
  }
  const output = await outputAt(path)
  const part = output.replaced ? `${output.path}.part` : output.path
  const file = await openOutput(part, output.replaced ? 'a+' : 'w', path)
  try {
    const kept = output.replaced ? await soundLength(file, exported.root, header.length, signal) : 0
    if (output.replaced) await file.truncate(kept)
    const from = kept === 0 ? header : undefined
    const { blocks, bytes } = await copyPieces(
      exported,
      header.length,
      kept,
      signal,
      count,
      async (chunk) => {
        await file.appendFile(chunk)
      },
      from
    )
    if (output.replaced) await file.sync()
    await file.close()
    if (output.replaced) await rename(part, output.path)
    return { root: exported.root, blocks, bytes, resumed: kept }
  } catch (error) {
    await file.close().catch(() => undefined)
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC' && output.replaced) {
      throw new MoveError(
        `the disk of ${path} is full: make room and run this again, it goes on where it stopped; or remove ${part}`,
        { cause: error }
      )
    }
    if (error instanceof Refused && output.replaced) await rm(part, { force: true })
    throw error
  }
}

async function copyPieces(
  exported: Exported,
  start: number,
  kept: number,
  signal: AbortSignal,
  count: (bytes: number) => void,
  write: (chunk: Uint8Array) => Promise<void>,
  header: Uint8Array | undefined
): Promise<{ blocks: number; bytes: number }> {
  if (header !== undefined) await write(header)
  let blocks = 0
  let at = start
  for await (const { cid, size, at: offset, data, last } of exported.pieces(signal)) {
    signal.throwIfAborted()
    const end = at + frameLength(cid, size)
    if (end > kept) {
      if (offset === 0) await write(frameHead(cid, size))
      await write(data)
    }
    count(data.length)
    if (!last) continue
    at = end
    blocks++
  }
  return { blocks, bytes: at }
}

/** How much of a part file is whole blocks of the same CAR, in bytes. */
async function soundLength(
  file: FileHandle,
  root: CID,
  header: number,
  signal: AbortSignal
): Promise<number> {
  let sound = 0
  try {
    const found = await readCarHeader(file, 'part')
    if (!found.root.equals(root) || found.length !== header) return 0
    sound = header
    for await (const { cid, size, last } of piecesOf(file, 'part', signal))
      if (last) sound += frameLength(cid, size)
  } catch {
    signal.throwIfAborted()
  }
  return sound
}

/** What is to be exported, and where to. */
export interface CarExport {
  readonly gateway: Server
  readonly root: CID
  /** Names that the repository may have in the tree, if only one is meant. */
  readonly names: readonly string[] | undefined
  readonly path: string
  readonly count: (bytes: number) => void
  readonly signal: AbortSignal
}

/** Writes a root, or a repository of it, into a CAR. @throws {MoveError} as {@link writeCarFile} */
export async function exportCar({ gateway, root, names, path, count, signal }: CarExport): Promise<Written> {
  if (names === undefined) return writeCarFile(path, wholeRoot(gateway, root), count, signal)
  const view = openRoot(root, gatewayBlocks(gateway))
  for (const name of names)
    if (await view.hasRepository(name, signal))
      return writeCarFile(path, await oneRepository(gateway, root, name, signal), count, signal)
  throw new Refused(`there is no repository ${names[0]} here; seaway images lists them`, { unknown: true })
}
