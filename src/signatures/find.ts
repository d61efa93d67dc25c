import type { Digest } from '../oci/digest.ts'
import { splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import type { Reference } from '../oci/reference.ts'
import type { ManifestContent, PullTarget, Registry } from '../registry/index.ts'
import { isBundle, SIMPLE_SIGNING } from './cosign.ts'
import { COSE, JWS } from './notation.ts'
import type { FoundSignature } from './types.ts'

/** Where an image and its signatures are read. */
export type Source = Pick<Registry, 'pull' | 'lists'>

/** How many signatures of one image are looked at, and how many referrers to find them. */
const MAX_SIGNATURES = 64
const MAX_REFERRERS = 500

/** What of the referrers can be a signature, by its artifact type. */
const ARTIFACTS = [
  (type: string): boolean => isBundle(type),
  (type: string): boolean => type === 'application/vnd.cncf.notary.signature',
  (type: string): boolean => type === 'application/vnd.dev.cosign.artifact.sig.v1+json'
]

/** Reads content of a repository that is at most {@link MAX_MANIFEST} bytes long. @throws {RegistryError} */
export async function readBlob(
  { pull }: Pick<Source, 'pull'>,
  name: PullTarget,
  digest: Digest,
  signal: AbortSignal
): Promise<Uint8Array> {
  const blob = await pull.blob(name, digest, signal)
  if (blob.size > MAX_MANIFEST)
    throw new RegistryError('MANIFEST_INVALID', `${digest} has ${blob.size} bytes, too many for a signature`)
  const chunks: Uint8Array[] = []
  for await (const chunk of await blob.open()) chunks.push(chunk as Uint8Array)
  return Buffer.concat(chunks)
}

/**
 * The signatures that a repository has of a manifest, wherever its trees and upstream keep them: with what refers to it,
 * and under cosign's tag. None of them has been checked.
 *
 * @param failed told why a part couldn't be looked for or read
 */
export async function* findSignatures(
  source: Source,
  name: PullTarget,
  subject: Digest,
  signal: AbortSignal,
  failed: (error: RegistryError) => void
): AsyncGenerator<FoundSignature> {
  let left = MAX_SIGNATURES
  /** What isn't there is not a failure; what can't be read is, for it could be the one that counts. */
  async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof RegistryError)) throw error
      if (!/_UNKNOWN$|_INVALID$/.test(error.code)) failed(error)
      return undefined
    }
  }
  async function* signaturesIn(reference: Reference): AsyncGenerator<FoundSignature> {
    const found = await attempt(() => source.pull.manifest(name, reference, signal))
    for (const layer of found === undefined ? [] : layersOf(found)) {
      if (![SIMPLE_SIGNING, JWS, COSE].includes(layer.mediaType) && !isBundle(layer.mediaType)) continue
      if (left-- <= 0) return
      const bytes = await attempt(() => readBlob(source, name, layer.digest, signal))
      if (bytes !== undefined)
        yield { mediaType: layer.mediaType, bytes, annotations: layer.annotations ?? {} }
    }
  }

  for (let after = '', looked = 0; looked < MAX_REFERRERS; ) {
    const page = { after, limit: 100 }
    const listed = await attempt(() => source.lists.referrers(name, subject, undefined, page, signal))
    for (const { digest, artifactType = '' } of listed?.items ?? [])
      if (ARTIFACTS.some((is) => is(artifactType))) yield* signaturesIn({ kind: 'digest', digest })
    after = listed?.items.at(-1)?.digest ?? ''
    looked += page.limit
    if (listed?.more !== true) break
  }
  const { algorithm, hex } = splitDigest(subject)
  yield* signaturesIn({ kind: 'tag', tag: `${algorithm}-${hex}.sig` })
}

function layersOf({ bytes, mediaType }: ManifestContent) {
  const [, ...layers] = readManifest(bytes, mediaType).blobs
  return layers
}
