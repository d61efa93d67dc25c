/** Registry trees of tiny manifests over a store in a temporary folder, for tests of what is done with roots. */
import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import { type Digest, digestOf, splitDigest } from '../../src/oci/digest.ts'
import { openStore, rawCid, type Store } from '../../src/store/index.ts'
import {
  type Change,
  createDirectories,
  createTreeWriter,
  type LoadBlock,
  openTree,
  putManifest,
  type TreeView,
  type TreeWriter
} from '../../src/tree/index.ts'
import { tempFolder } from './temp.ts'

const MEDIA_TYPE = 'application/vnd.oci.image.index.v1+json'

/** The bytes of a manifest that holds nothing but a text. */
function manifestOf(text: string): Buffer {
  const fields = { schemaVersion: 2, mediaType: MEDIA_TYPE, manifests: [], annotations: { text } }
  return Buffer.from(JSON.stringify(fields))
}

/** The digest of the manifest that holds `text`. */
export function textDigest(text: string): Digest {
  return digestOf(manifestOf(text))
}

/** A store and what makes trees in it. */
export class SmallTrees {
  readonly #folder = tempFolder()
  #store: Store | undefined
  #serial = 0
  readonly directories = createDirectories()
  readonly signal = new AbortController().signal
  readonly load: LoadBlock = async (cid) =>
    (await this.store.blocks.find(cid)) ?? assert.fail(`${cid} is not here`)

  get store(): Store {
    return this.#store ?? assert.fail('not open')
  }

  /** Where files can be put that go with it. */
  get path(): string {
    return this.#folder.path
  }

  async open(): Promise<void> {
    this.#store = await openStore({ folder: this.#folder.path, reserve: 0 })
  }

  async close(): Promise<void> {
    await this.store.close()
    await this.#folder.remove()
  }

  /** Trees by their domains. */
  writer(): TreeWriter {
    return createTreeWriter({
      blocks: this.store.blocks,
      records: this.store.records,
      directories: this.directories,
      load: () => this.load,
      deadlineMs: 10_000
    })
  }

  /** What a push of the manifest that holds `text` changes in the repository `name`. */
  async put(text: string, tags: readonly string[], name: string): Promise<Change> {
    const bytes = manifestOf(text)
    const digest = digestOf(bytes)
    const cid = rawCid(Buffer.from(splitDigest(digest).hex, 'hex'))
    await this.store.blocks.put(cid, bytes)
    return putManifest({
      name,
      manifest: { digest, link: { cid, size: bytes.length } },
      tags,
      blobs: [],
      subject: undefined,
      mediaType: undefined,
      listed: { mediaType: MEDIA_TYPE, digest, size: bytes.length }
    })
  }

  /** The root that changes make of another one, or of nothing. */
  async grown(from: CID | undefined, changes: readonly Change[]): Promise<CID> {
    const trees = this.writer()
    const name = `tree-${this.#serial++}`
    let root = from
    for (const change of changes)
      root = await trees.change(name, change, { signal: this.signal, base: async () => from })
    return root ?? assert.fail('a tree is made of changes')
  }

  view(root: CID): TreeView {
    return openTree({ cid: root, size: 0 }, this.directories, this.load)
  }
}
