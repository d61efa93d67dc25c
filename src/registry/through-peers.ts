import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Reference } from '../oci/reference.ts'
import { type ResolvedTag, type Upstream, UpstreamError, type UpstreamManifest } from '../upstream/index.ts'
import type { Near } from './near.ts'

/** Where a manifest is looked for. */
export interface Where {
  readonly near: Pick<Near, 'any' | 'manifest'>
  readonly upstream: Pick<Upstream, 'resolve'>
  readonly repository: string
  /** What a manifest of the repository says of one that it names. */
  named(digest: Digest): { readonly size: number; readonly mediaType: string } | undefined
}

/**
 * A manifest that peers have. What a tag stands for the upstream says in a HEAD, which registries that count pulls don't
 * count; a digest is asked for only where the repository is known to have it, since peers don't know that.
 *
 * @returns `undefined` where the upstream is to be asked for all of it
 * @throws {UpstreamError} when it can't be asked, or has no such tag; the signal's reason
 */
export async function manifestFromPeers(
  { near, upstream, repository, named }: Where,
  reference: Reference,
  signal: AbortSignal
): Promise<UpstreamManifest | undefined> {
  if (!(await near.any())) return undefined
  const found =
    reference.kind === 'digest'
      ? described(reference.digest, named(reference.digest))
      : await upstream.resolve(repository, reference.tag, signal).catch(unlessWrong)
  if (found === undefined) return undefined
  const { digest, size, etag } = found
  const bytes = await near.manifest({ digest, size }, signal)
  if (bytes === undefined) return undefined
  try {
    const { mediaType } = readManifest(bytes, found.mediaType)
    return { digest, mediaType, bytes, etag }
  } catch (error) {
    if (error instanceof RegistryError) return undefined // the upstream says what is wrong with it
    throw error
  }
}

function described(
  digest: Digest,
  one: { readonly size: number; readonly mediaType: string } | undefined
): ResolvedTag | undefined {
  return one && { digest, mediaType: one.mediaType, size: one.size, etag: undefined }
}

/** A server that knows no HEAD may know GET. */
function unlessWrong(error: unknown): undefined {
  if (error instanceof UpstreamError && error.fault === 'wrong') return undefined
  throw error
}
