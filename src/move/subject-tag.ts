import { digestOf } from '../oci/digest.ts'
import { type Descriptor, type Manifest, readManifest } from '../oci/manifest.ts'
import { INDEX_TYPES, OCI_INDEX } from '../oci/media-types.ts'
import type { DirectRegistry } from '../upstream/direct.ts'
import { UpstreamError } from '../upstream/failure.ts'
import { MoveError, type StoredManifest } from './types.ts'

/** A repository of a registry that knows no referrers. */
type Access = {
  readonly registry: Pick<DirectRegistry, 'manifest' | 'uploads' | 'server'>
  readonly repository: string
}

/**
 * Lists a manifest under the tag that clients keep for what refers to its subject; nothing changes where it is listed.
 * Another client that does the same at the same moment may undo it: such registries have no way to prevent that.
 *
 * @throws {UpstreamError}; {MoveError} where the tag is of something else; the signal's reason
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
 */
export async function listUnderTag(
  { registry, repository }: Access,
  manifest: StoredManifest,
  { subject, artifactType, annotations }: Manifest,
  signal: AbortSignal
): Promise<void> {
  if (subject === undefined) return
  const tag = subject.digest.replace(':', '-')
  const before = await registry.manifest(repository, tag, signal).catch((error: unknown) => {
    if (error instanceof UpstreamError && error.fault === 'unknown') return undefined
    throw error
  })
  if (before !== undefined && !INDEX_TYPES.includes(before.mediaType))
    throw new MoveError(
      `${repository}:${tag} at ${registry.server.name} is no list of what refers to ${subject.digest}; remove that tag`
    )
  const listed = before === undefined ? [] : readManifest(before.bytes, before.mediaType).children
  if (listed.some(({ digest }) => digest === manifest.digest)) return
  const { mediaType, digest, bytes } = manifest
  const entry: Descriptor = {
    mediaType,
    digest,
    size: bytes.length,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations: { ...annotations } })
  }
  const index = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [...listed, entry] })
  )
  const list = { mediaType: OCI_INDEX, bytes: index, digest: digestOf(index) }
  await registry.uploads.putManifest(repository, tag, list, signal)
}
