import { type Digest, digestOf, isDigest, splitDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { type Descriptor, MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { isTag } from '../oci/reference.ts'
import { namesOf } from './tar-images.ts'
import { type ImageSource, MoveError, Refused } from './types.ts'

/** The files of a layout, in a folder or in a tar; paths are below where it begins. */
export interface LayoutFiles {
  /** How messages call the layout: `oci:./app`. */
  readonly name: string
  /** Bytes of a file; `undefined` where there is none. */
  size(path: string): Promise<number | undefined>
  /** All of a file that is there. */
  all(path: string): Promise<Buffer>
  /** The bytes of a file that is there from `at` on. */
  from(path: string, at: number, signal: AbortSignal): AsyncIterable<Uint8Array>
}

/** What `index.json` says. @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md */
export interface LayoutIndex {
  schemaVersion: 2
  mediaType?: string
  manifests: Descriptor[]
  [key: string]: unknown
}

/** Where the list of images is in a layout. */
export const INDEX = 'index.json'

/** Where a blob is in a layout. */
export function blobPath(digest: Digest): string {
  const { algorithm, hex } = splitDigest(digest)
  return `blobs/${algorithm}/${hex}`
}

/** The list of a layout's images, if it has one. @throws {MoveError} for what is none */
export async function readIndex(files: LayoutFiles): Promise<LayoutIndex | undefined> {
  if ((await files.size(INDEX)) === undefined) return undefined
  const bytes = await files.all(INDEX)
  try {
    const read = JSON.parse(bytes.toString()) as LayoutIndex
    if (!Array.isArray(read.manifests)) throw new Error('it has no manifests')
    return read
  } catch (error) {
    throw new MoveError(`${files.name} is no OCI layout: its index.json cannot be read (${reason(error)})`, {
      cause: error
    })
  }
}

/**
 * The images of an OCI image layout.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 */
export function createLayoutSource(files: LayoutFiles): ImageSource {
  const { name } = files

  return {
    name,
    tags: async () => (await manifestsIn(files)).flatMap((each) => namesOf(each).map(tagOf)).sort(),
    async manifest(reference) {
      const listed = await manifestsIn(files)
      const found = isDigest(reference)
        ? reference
        : listed.find((each) => namesOf(each).some((one) => one === reference || tagOf(one) === reference))
            ?.digest
      const size = found === undefined ? undefined : await files.size(blobPath(found))
      if (found === undefined || size === undefined || size > MAX_MANIFEST) {
        const there = listed.flatMap(namesOf).join(', ')
        throw new Refused(`${name} has no '${reference}'${there === '' ? '' : `; it has ${there}`}`, {
          unknown: true
        })
      }
      const bytes = await files.all(blobPath(found))
      if (digestOf(bytes, splitDigest(found).algorithm) !== found)
        throw new MoveError(`${name} is damaged: ${found} is something else`)
      const type = listed.find(({ digest }) => digest === found)?.mediaType
      return { digest: found, bytes, mediaType: readManifest(bytes, type).mediaType }
    },
    async *read({ digest }, at, signal) {
      if ((await files.size(blobPath(digest))) === undefined)
        throw new Refused(`${name} is incomplete: it lacks ${digest}`, { unknown: true })
      yield* files.from(blobPath(digest), at, signal)
    },
    async referrers(digest) {
      // those that the index lists, as tools write them
      const found: Descriptor[] = []
      for (const each of await manifestsIn(files)) {
        const size = await files.size(blobPath(each.digest))
        if (size === undefined || size > MAX_MANIFEST) continue
        const { subject } = readManifest(await files.all(blobPath(each.digest)), each.mediaType)
        if (subject?.digest === digest) found.push(each)
      }
      return found
    }
  }
}

/**
 * What the images of a layout are called there: tags, or whole names; a single one without a name by its digest.
 *
 * @throws {Refused} for what is no layout
 */
export async function namesIn(files: LayoutFiles): Promise<readonly string[]> {
  const listed = await manifestsIn(files)
  const names = listed.flatMap(namesOf)
  const [only, ...others] = listed
  return names.length === 0 && only !== undefined && others.length === 0 ? [only.digest] : names
}

async function manifestsIn(files: LayoutFiles): Promise<readonly Descriptor[]> {
  const index = await readIndex(files)
  if (index === undefined)
    throw new Refused(`${files.name} is no OCI layout: there is no index.json in it`, { unknown: true })
  return index.manifests
}

/** Whole names are listed under their tag. */
function tagOf(name: string): string {
  const tag = name.slice(name.lastIndexOf(':') + 1)
  return isTag(tag) ? tag : name
}
