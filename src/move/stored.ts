import { basename, resolve } from 'node:path'
import { isDigest } from '../oci/digest.ts'
import type { Manner, StorePlace } from './move.ts'
import { imageText, parseImage, referenceOf } from './places.ts'
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

/** The images that a place names. @throws {MoveError} where it has none with a name */
export async function storedIn(
  place: StorePlace,
  { stores, signal }: Pick<Manner, 'stores' | 'signal'>
): Promise<Stored[]> {
  const source = await stores.store(place, signal)
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
  const references = place.image === undefined ? await source.tags(signal) : [place.image]
  if (references.length === 0)
    throw new MoveError(
      `${source.name} has no image with a name: write ${source.name}:sha256:… with its digest, and --name where it gets one`
    )
  return references.map((reference) => {
    // a layout names tags, and sometimes whole names
    const named = reference.includes('/') || (/:\w/.test(reference) && !reference.startsWith('sha'))
    const nameless = isDigest(reference)
    const folder = basename(resolve(place.path)).toLowerCase()
    const name = named ? reference : `${folder}${nameless ? '@' : ':'}${reference}`
    return { source, reference, name, nameless }
  })
}
