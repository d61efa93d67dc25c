import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { MAX_MANIFEST, type Manifest, readManifest } from '../oci/manifest.ts'
import { INDEX_TYPES } from '../oci/media-types.ts'
import type { Peek } from '../store/index.ts'
import {
  createDirectories,
  type Directories,
  type LoadBlock,
  openTree,
  type TreeView
} from '../tree/index.ts'

/** A tree as far as it is here. Nothing is fetched: what is elsewhere reads as empty. */
export interface LocalTree {
  readonly view: TreeView
  /** Whether something that was asked for isn't here. */
  elsewhere(): boolean
  /** Something isn't here that the view doesn't read: a manifest. */
  lacks(): void
}

/** What directories of a tree take in memory at most, in bytes: a collection goes through a tree once, in order. */
const DIRECTORIES = 10 * 1024 * 1024

/** An empty UnixFS directory: what is read in place of a block that isn't here. */
const NOTHING = Buffer.from([0x0a, 0x02, 0x08, 0x01])

/** Thrown for a block that isn't here. */
export class Elsewhere extends Error {}

/** Blocks of the store alone. @throws {Elsewhere} */
export function localBlocks(store: Pick<Peek, 'blocks'>): LoadBlock {
  return async (cid: CID) => {
    const [bytes] = await store.blocks([cid.multihash.bytes])
    if (bytes === undefined) throw new Elsewhere(`${cid} is not here`)
    return bytes
  }
}

/** Opens a tree for those who collect or count what is here. */
export function openLocal(root: CID, store: Pick<Peek, 'blocks'>): LocalTree {
  let missing = false
  const load = localBlocks(store)
  const lenient: LoadBlock = (cid, signal) =>
    load(cid, signal).catch((error: unknown) => {
      if (!(error instanceof Elsewhere)) throw error
      missing = true
      return NOTHING
    })
  return {
    view: openTree({ cid: root, size: 0 }, createDirectories(DIRECTORIES), lenient),
    elsewhere: () => missing,
    lacks() {
      missing = true
    }
  }
}

/**
 * Answers about a tree that may be elsewhere: `undefined` where that can't be told here.
 *
 * @param directories those of an asker who comes again
 */
export function askLocal(
  root: CID,
  store: Pick<Peek, 'blocks'>,
  directories: Directories = createDirectories(DIRECTORIES)
) {
  const view = openTree({ cid: root, size: 0 }, directories, localBlocks(store))
  return async <T>(ask: (view: TreeView) => Promise<T>): Promise<T | undefined> => {
    try {
      return await ask(view)
    } catch (error) {
      if (error instanceof Elsewhere) return undefined
      throw error
    }
  }
}

/** What a manifest names. */
export interface Named {
  readonly size: number
  readonly isIndex: boolean
  readonly children: readonly Digest[]
  readonly blobs: readonly Digest[]
  readonly subject: Digest | undefined
}

/**
 * A manifest of a repository, and how long it is; `undefined` when it isn't here, and without `manifest` when it
 * can't be read.
 */
export async function manifestIn(
  store: Pick<Peek, 'blob' | 'bytes'>,
  view: TreeView,
  repository: string,
  digest: Digest,
  signal: AbortSignal
): Promise<{ size: number; manifest: Manifest | undefined } | undefined> {
  const blob = await store.blob(digest)
  if (blob === undefined) return undefined
  const bytes = await store.bytes(blob, MAX_MANIFEST)
  const manifest =
    bytes && (readOr(bytes, undefined) ?? readOr(bytes, await view.manifestType(repository, digest, signal)))
  return { size: blob.size, manifest }
}

/** What a manifest of a repository names; `undefined` when it isn't here, or can't be read. */
export async function namedBy(...of: Parameters<typeof manifestIn>): Promise<Named | undefined> {
  const { size, manifest } = (await manifestIn(...of)) ?? {}
  if (size === undefined || manifest === undefined) return undefined
  return {
    size,
    isIndex: INDEX_TYPES.includes(manifest.mediaType),
    children: manifest.children.map((child) => child.digest),
    blobs: manifest.blobs.map((one) => one.digest),
    subject: manifest.subject?.digest
  }
}

function readOr(bytes: Uint8Array, mediaType: string | undefined): Manifest | undefined {
  try {
    return readManifest(bytes, mediaType)
  } catch {
    return undefined // what can't be read is left as it is
  }
}

/** The sha256 of a blob that is known by a digest of another algorithm. */
export async function sha256In(store: Pick<Peek, 'blob'>, digest: Digest): Promise<Uint8Array | undefined> {
  const blob = await store.blob(digest)
  return blob && Buffer.from(blob.digest.slice('sha256:'.length), 'hex')
}
