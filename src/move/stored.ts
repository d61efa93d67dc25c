import { basename, resolve } from 'node:path'
import { isDigest } from '../oci/digest.ts'
import { archiveName } from './archive.ts'
import type { ArchiveSource } from './archive-source.ts'
import type { StorePlace } from './move.ts'
import { type FilePlace, imageText, parseImage, referenceOf } from './places.ts'
import { type ImageSource, MoveError } from './types.ts'

/** An image in a store, with what it is called there. */
export interface Stored {
  readonly source: ImageSource
  readonly reference: string
  readonly name: string
  /** Whether `name` ends in a digest rather than a tag. */
  readonly nameless: boolean
  /** Its repository, where it is the gateway's. */
  readonly own?: string
}

/** The images of `source` that a place names. @throws {MoveError} where it has none with a name */
export async function storedIn(
  place: StorePlace | FilePlace<'archive'>,
  source: ImageSource & Partial<ArchiveSource>,
  signal: AbortSignal
): Promise<Stored[]> {
  if (place.kind === 'car') {
    const image = parseImage(place.image ?? '')
    return [
      { source, reference: referenceOf(image), name: imageText(image), nameless: image.tag === undefined }
    ]
  }
  if (place.kind === 'gateway' || place.kind === 'registry') {
    const nameless = place.image.tag === undefined
    const own = place.kind === 'gateway' ? { own: place.image.repository } : {}
    return [{ source, reference: referenceOf(place.image), name: imageText(place.image), nameless, ...own }]
  }
  const all = () => source.names?.() ?? source.tags(signal)
  const references = place.image === undefined ? await all() : [place.image]
  if (references.length === 0)
    throw new MoveError(
      `${source.name} has no image with a name: write ${source.name}:sha256:… with its digest, and --name where it gets one`
    )
  return references.map((reference) => {
    // a layout names tags, and sometimes whole names
    const named = reference.includes('/') || (/:\w/.test(reference) && !reference.startsWith('sha'))
    const nameless = isDigest(reference)
    const own =
      place.kind === 'archive' ? archiveName(place.path) : basename(resolve(place.path)).toLowerCase()
    const name = named ? reference : `${own}${nameless ? '@' : ':'}${reference}`
    return { source, reference, name, nameless }
  })
}
