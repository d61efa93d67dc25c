import type { Digest } from '../oci/digest.ts'
import { isAbort, RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST, parseJson, readManifest } from '../oci/manifest.ts'
import { IMAGE_TYPES, INDEX_TYPES } from '../oci/media-types.ts'
import { SIMPLE_SIGNING } from './cosign.ts'

/** What clients run, or take for something to run: the types that stand for "not said" are among them. */
const RUNNABLE =
  /^(?:|text\/.*|application\/(?:json|octet-stream)|.*(?:container\.image|image\.config|plugin)\..*)$/i

/** Layers that cosign attaches to images by a tag, under the config of an image. */
const BESIDE = [SIMPLE_SIGNING, 'application/vnd.dsse.envelope.v1+json']

/** The tag of an index that lists what refers to a manifest, for clients of registries that can't. */
const REFERRERS_TAG = /^sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{128})$/

/**
 * Whether a manifest is only something about another one (a signature, an attestation, a list of such), that no client
 * would run as an image: it must be there before anything can be said to be signed. It is told by what it holds,
 * since a name or a type is anybody's to choose.
 *
 * @param blob reads content of the repository that is at most {@link MAX_MANIFEST} bytes long
 */
export async function isAttachment(
  bytes: Uint8Array,
  mediaType: string | undefined,
  tags: readonly string[],
  blob: (digest: Digest) => Promise<Uint8Array>
): Promise<boolean> {
  const manifest = readManifest(bytes, mediaType)
  // such an index gives nothing away: what it names is asked about by itself
  if (INDEX_TYPES.includes(manifest.mediaType))
    return tags.length > 0 && tags.every((tag) => REFERRERS_TAG.test(tag))
  if (!IMAGE_TYPES.includes(manifest.mediaType)) return false
  const [config, ...layers] = manifest.blobs
  const named = parseJson(bytes)['layers']
  // a layer that may be absent isn't among them, and is a layer all the same
  if (config === undefined || layers.length !== (Array.isArray(named) ? named.length : 0)) return false
  if (manifest.subject !== undefined && !RUNNABLE.test(config.mediaType)) return true
  if (layers.length === 0 || !layers.every(({ mediaType }) => BESIDE.includes(mediaType))) return false
  for (const { digest, size } of layers) if (size > MAX_MANIFEST || !isJson(await blob(digest))) return false
  return true
}

/** No tar is JSON, whatever it is called. */
function isJson(bytes: Uint8Array): boolean {
  try {
    return Object.keys(parseJson(bytes)).length > 0
  } catch (error) {
    if (isAbort(error) || !(error instanceof RegistryError)) throw error
    return false
  }
}
