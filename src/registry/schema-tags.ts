import { type Digest, isDigest } from '../oci/digest.ts'

/**
 * Whether a tag is one of the referrers tag schema: `sha256-<hex>`, an index of what refers to that digest, kept
 * by clients of registries without a referrers API.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
 */
export function isSchemaTag(tag: string): boolean {
  return subjectOfTag(tag) !== undefined
}

/** What a tag of the referrers tag schema speaks of; `undefined` for any other tag. */
export function subjectOfTag(tag: string): Digest | undefined {
  const digest = tag.replace('-', ':')
  return isDigest(digest) ? digest : undefined
}
