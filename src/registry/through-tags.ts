import { type Digest, isDigest } from '../oci/digest.ts'
import { type IndexWrite, type Records, recordRow } from '../store/index.ts'

/** What is known of a tag that came from an upstream. */
export interface SeenTag {
  readonly digest: Digest
  readonly etag?: string | undefined
  /** When the upstream said so last (epoch ms). */
  readonly at: number
}

/**
 * Tags that came from an upstream: records `upstream/<domain>/<repository>\0<tag>`, written in one step with the tag.
 * A tag without one, or with another digest than its own, was pushed here.
 */
export interface SeenTags {
  get(domain: string, repository: string, tag: string): Promise<SeenTag | undefined>
  put(domain: string, repository: string, tag: string, seen: SeenTag): Promise<void>
  /** The row of {@link SeenTags.put}, for whoever writes it together with something else; without a value it goes. */
  row(domain: string, repository: string, tag: string, seen: SeenTag | undefined): IndexWrite
}

/** Makes it. `repository` is the name below the domain. */
export function createSeenTags(records: Records): SeenTags {
  const keyOf = (domain: string, repository: string, tag: string) =>
    `upstream/${domain}/${repository}\0${tag}`
  const encode = (seen: SeenTag) => Buffer.from(JSON.stringify(seen))
  return {
    async get(domain, repository, tag) {
      const bytes = await records.get(keyOf(domain, repository, tag))
      if (bytes === undefined) return undefined
      const seen = JSON.parse(Buffer.from(bytes).toString()) as SeenTag
      return isDigest(seen.digest) ? seen : undefined
    },
    put: (domain, repository, tag, seen) => records.put(keyOf(domain, repository, tag), encode(seen)),
    row: (domain, repository, tag, seen) =>
      recordRow(keyOf(domain, repository, tag), seen === undefined ? undefined : encode(seen))
  }
}
