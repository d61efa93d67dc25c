import { open } from 'node:fs/promises'
import { type Digest, hasher } from '../oci/digest.ts'
import type { BlobCheckParts, CheckOptions, Verdict } from './blob-check.ts'
import { blobPath, decodeBlob, digestOfSha256, sha256Of } from './blob-rows.ts'
import { LEAF_SIZE } from './dag.ts'
import { readFully } from './files.ts'
import { prefixEnd, rowKey } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import type { SetAside } from './quarantine.ts'

/** How an alias is checked. */
export interface AliasOptions extends CheckOptions {
  /** Whether anything asks for content by this digest. */
  readonly needed: () => Promise<boolean>
}

/** Reading what is known by a sha512 against it. */
export interface AliasCheck {
  /**
   * Reads the blob that a sha512 leads to. A row that leads elsewhere goes: set aside where its content is
   * needed, so that it is had again; without a word where it isn't.
   */
  alias(digest: Digest, options: AliasOptions): Promise<Verdict>
  /** The sha512 digests that there are rows for, those after `after` only. */
  aliases(after: Digest | undefined): AsyncGenerator<Digest>
  /** Those of them that lead to the blob with this sha256 digest. */
  aliasesOf(digest: Digest): AsyncGenerator<Digest>
}

/** Bytes of a sha512. */
const SHA512 = 64

export function createAliasCheck(
  parts: Pick<BlobCheckParts, 'db' | 'write' | 'folder' | 'quarantine' | 'forget'>
): AliasCheck {
  const { db, write, folder, quarantine, forget } = parts

  /** The sha512 of a blob, in hex; `undefined` when it isn't here or can't be read, which its own check tells. */
  async function sha512Of(sha256: Uint8Array, { signal, pace }: CheckOptions): Promise<string | undefined> {
    const value = sha256.length === 32 ? await db.get(rowKey('b', sha256)) : undefined
    if (value === undefined) return undefined
    const hash = hasher('sha512')
    const { inline, size, digest } = decodeBlob(sha256, value)
    if (inline) {
      const bytes = await db.get(rowKey('k', sha256Multihash(sha256)))
      await pace?.(bytes?.length ?? 0)
      return bytes && hash.update(bytes).digest('hex')
    }
    const file = await open(blobPath(folder, digest.slice('sha256:'.length)), 'r')
    try {
      const buffer = Buffer.allocUnsafe(Math.min(LEAF_SIZE, size))
      for (let at = 0; at < size; ) {
        signal.throwIfAborted()
        const n = await readFully(file, buffer.subarray(0, Math.min(buffer.length, size - at)), at)
        if (n === 0) break
        hash.update(buffer.subarray(0, n))
        at += n
        await pace?.(n)
      }
      return hash.digest('hex')
    } finally {
      await file.close()
    }
  }

  /** Whether the blob itself was set aside: then its row is right, and nothing is there for now. */
  async function isAside(sha256: Uint8Array): Promise<boolean> {
    for await (const { id, state } of quarantine.entries())
      if (state === 'bad' && sha256.length === 32 && id === digestOfSha256(sha256)) return true
    return false
  }

  return {
    async alias(digest, options) {
      const key = rowKey('d', sha256Of(digest))
      const sha256 = await db.get(key)
      if (sha256 === undefined) return { kind: 'gone' }
      const found = await sha512Of(sha256, options).catch((error: unknown) => {
        options.signal.throwIfAborted()
        if ((error as NodeJS.ErrnoException).code === undefined) throw error
        return undefined
      })
      if (digest === `sha512:${found}`) return { kind: 'sound' }
      if (found === undefined && (await isAside(sha256))) return { kind: 'sound' }
      const away = { type: 'del', key } as const
      const needed = await options.needed()
      // it may have been written anew meanwhile
      if (Buffer.compare((await db.get(key)) ?? key, sha256) !== 0) return { kind: 'gone' }
      if (!needed) {
        await write([away])
        forget(digest)
        return { kind: 'gone' }
      }
      const entry = entryOf(
        digest,
        found === undefined ? 'it leads to no blob' : 'it leads to another blob',
        options
      )
      await quarantine.bytes(entry, sha256, [away])
      forget(digest)
      return { kind: 'aside', entry }
    },

    async *aliases(after) {
      const from = rowKey('d')
      const start = after === undefined ? { gte: from } : { gt: rowKey('d', sha256Of(after)) }
      for await (const key of db.keys({ ...start, lt: prefixEnd(from) }))
        if (key.length === 1 + SHA512) yield aliasIn(key)
    },

    async *aliasesOf(digest) {
      const sha256 = sha256Of(digest)
      const from = rowKey('d')
      for await (const [key, value] of db.iterator({ gte: from, lt: prefixEnd(from) }))
        if (key.length === 1 + SHA512 && Buffer.compare(value, sha256) === 0) yield aliasIn(key)
    }
  }
}

/** The sha512 digest that a row is about. */
const aliasIn = (key: Uint8Array): Digest => `sha512:${Buffer.from(key.subarray(1)).toString('hex')}`

function entryOf(digest: Digest, what: string, { foundBy }: CheckOptions): SetAside {
  const at = new Date().toISOString()
  return {
    name: `${digest.replace(':', '-')}.${at.replaceAll(':', '')}`,
    kind: 'blob',
    id: digest,
    cid: '',
    size: 0,
    what: `the index is wrong about its sha256: ${what}`,
    pieces: [0],
    damaged: 1,
    pushed: false,
    foundBy,
    at,
    state: 'bad',
    outcome: 'not repaired yet',
    told: false
  }
}
