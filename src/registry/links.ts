import { type Digest, isDigest } from '../oci/digest.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Records } from '../store/index.ts'

/** A blob that a repository was given. */
export interface LinkRecord {
  /** The key of its record. */
  readonly key: string
  /** The repository, as {@link linkedIn} calls it. */
  readonly repository: string
  readonly digest: Digest
  /** When it was given (epoch ms). */
  readonly at: number
}

/**
 * Which blobs a repository has been given that no manifest of it names yet. They are not part of the
 * tree (nothing is published before a manifest makes it an image), but the repository has them.
 */
export interface Links {
  has(name: RepositoryName, digest: Digest): Promise<boolean>
  /** The record that makes a link, for writing it in one step with the blob. */
  note(name: RepositoryName, digest: Digest): [key: string, value: Uint8Array]
  add(name: RepositoryName, digest: Digest): Promise<void>
  remove(name: RepositoryName, digest: Digest): Promise<void>
  /** All there are. */
  list(): AsyncIterable<LinkRecord>
}

/** What links call a repository, however a client asks for it. */
export function linkedIn({ place, repository }: RepositoryName): string {
  return `${place.kind === 'domain' ? place.domain : place.kind}/${repository}`
}

export function createLinks(records: Records): Links {
  const keyOf = (name: RepositoryName, digest: Digest) => `link/${linkedIn(name)}\0${digest}`
  const note = (name: RepositoryName, digest: Digest): [string, Uint8Array] => [
    keyOf(name, digest),
    Buffer.from(JSON.stringify({ at: new Date().toISOString() }))
  ]
  return {
    note,
    has: async (name, digest) => (await records.get(keyOf(name, digest))) !== undefined,
    add: (name, digest) => records.put(...note(name, digest)),
    remove: (name, digest) => records.delete(keyOf(name, digest)),
    async *list() {
      for await (const [key, value] of records.list('link/')) {
        const end = key.indexOf('\0')
        const repository = key.slice('link/'.length, end)
        const digest = key.slice(end + 1)
        const { at } = JSON.parse(Buffer.from(value).toString()) as { at: string }
        if (isDigest(digest)) yield { key, repository, digest, at: Date.parse(at) }
      }
    }
  }
}
