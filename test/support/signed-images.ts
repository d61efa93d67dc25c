/** Images with signatures as cosign and notation themselves made them; see scripts/record-signatures.ts. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createLog } from '../../src/log.ts'
import type { Registry } from '../../src/registry/index.ts'
import { createSignatures, type Signatures, watchPolicy } from '../../src/signatures/index.ts'
import type { FoundSignature, Subject } from '../../src/signatures/types.ts'
import { digestOf, manifest, OCI_INDEX, type OciClient } from './oci-client.ts'

/**
 * - `tagged`: signed by `ours` in the older way, under a tag
 * - `bundled`, `index`: signed by `ours` in the newer way, as a referrer; `index` is one of two images that aren't signed
 * - `theirs`: signed by another key; `attested`: by `ours`, but something said of it and no signature
 * - `jws`, `cose`: signed by `leaf`, whom `ca` issued
 */
export type SignedImage = 'unsigned' | 'tagged' | 'bundled' | 'theirs' | 'attested' | 'index' | 'jws' | 'cose'

interface Recorded {
  readonly tags: Readonly<Record<string, string>>
  readonly blobs: readonly string[]
  readonly manifests: readonly { readonly mediaType: string; readonly base64: string }[]
}

const recorded = JSON.parse(readFileSync(join(import.meta.dirname, 'signed-images.json'), 'utf8')) as {
  files: Readonly<Record<'ours.pub' | 'theirs.pub' | 'ca.crt' | 'leaf.crt', string>>
  images: Readonly<Record<SignedImage, Recorded>>
}

/** Keys and certificates by the names of their files. */
export const signers = recorded.files

const manifestsOf = (image: SignedImage) =>
  recorded.images[image].manifests.map(({ mediaType, base64 }) => {
    const bytes = Buffer.from(base64, 'base64')
    return {
      mediaType,
      bytes,
      digest: digestOf(bytes),
      size: bytes.length,
      json: JSON.parse(bytes.toString())
    }
  })

/** The digest of an image, which has the tag `1`. */
export const digestOfImage = (image: SignedImage): string => String(recorded.images[image].tags['1'])

/** The digests of the images of `index`. */
export const partsOfIndex = (): string[] =>
  manifestsOf('index')
    .find(({ mediaType }) => mediaType === OCI_INDEX)
    ?.json.manifests.map(({ digest }: { digest: string }) => digest)

/** The signature of an image, and what it is for. */
export function signatureOf(image: SignedImage): { found: FoundSignature; subject: Subject } {
  const all = manifestsOf(image)
  const subject = all.find(({ digest }) => digest === digestOfImage(image))
  const signature = all.find(
    ({ json }) =>
      json.subject !== undefined || json.layers?.[0].annotations?.['dev.cosignproject.cosign/signature']
  )
  const [layer] = signature?.json.layers ?? []
  const base64 = recorded.images[image].blobs.find(
    (blob) => digestOf(Buffer.from(blob, 'base64')) === layer.digest
  )
  return {
    found: {
      mediaType: layer.mediaType,
      bytes: Buffer.from(String(base64), 'base64'),
      annotations: layer.annotations ?? {}
    },
    subject: subject as unknown as Subject
  }
}

/**
 * Pushes what was recorded of an image: all of it by its digest, then its tags.
 *
 * @param options.tags which of its tags; all unless given
 */
export async function pushRecorded(
  client: OciClient,
  name: string,
  image: SignedImage,
  { tags = () => true }: { tags?: (tag: string) => boolean } = {}
): Promise<string> {
  for (const blob of recorded.images[image].blobs) await client.blob(name, Buffer.from(blob, 'base64'))
  const all = manifestsOf(image).map(({ bytes, mediaType }) => ({
    ...manifest({}, mediaType),
    bytes,
    digest: digestOf(bytes)
  }))
  for (const each of all) await client.put(name, each)
  const given = Object.entries(recorded.images[image].tags).filter(([tag]) => tags(tag))
  // signatures first, as somebody does who may give no tag to what isn't signed
  for (const [tag, digest] of given.sort(([a], [b]) => b.length - a.length)) {
    const one = all.find((each) => each.digest === digest)
    if (one !== undefined) await client.put(name, one, tag)
  }
  return digestOfImage(image)
}

/** Writes a policy and the files of the signers into a folder; the policy's path. */
export function writePolicy(folder: string, yaml: string): string {
  for (const [name, text] of Object.entries(signers)) writeFileSync(join(folder, name), text)
  const path = join(folder, 'signatures.yaml')
  writeFileSync(path, yaml)
  return path
}

/** What must be signed by a policy file, which is looked at anew with each request. */
export async function openTestSignatures(registry: Registry, path: string): Promise<Signatures> {
  return createSignatures({
    policy: await watchPolicy(path, createLog('silent'), 0),
    registry,
    timeoutMs: 5000
  })
}
