import type { Digest } from '../oci/digest.ts'
import type { TarImage } from './tar-images.ts'
import { type ImageTarget, type Moved, MoveError, type Reporter, type StoredManifest } from './types.ts'

/** Where an image goes. */
export interface Destination {
  readonly store: ImageTarget
  readonly tag: string | undefined
  /** How it is called for people. */
  readonly shown: string
}

/** Where an image without a name comes from: its archive, and its tag there if it has one. */
export interface Unnamed {
  readonly from: string
  readonly tag?: string
}

/**
 * Where an image goes by what its source calls it, if it has a name there.
 *
 * @throws {MoveError} where it needs one
 */
export type ToDestination = (name: string | undefined, unnamed?: Unnamed) => Destination

/** An image that is where it was to go. */
export interface Delivered {
  readonly image: string
  readonly to: string
  readonly digest: Digest
}

/** An image, where it is to go, and how its digest is found out. */
export interface Goal {
  readonly name: string
  readonly destination: Destination
  readonly digest: () => Promise<Digest | undefined>
}

/** @throws {MoveError} where two images that aren't the same would get one name: which of them it was would be chance */
export async function checkGoals(goals: readonly Goal[]): Promise<void> {
  const taken = new Map<string, Goal>()
  for (const goal of goals) {
    const { store, tag, shown } = goal.destination
    const key = `${store.name} ${tag}`
    const other = taken.get(key)
    if (tag === undefined || other === undefined) taken.set(key, goal)
    else if ((await other.digest()) !== (await goal.digest()))
      throw new MoveError(
        `${shown} cannot be both ${other.name} and ${goal.name}: say which one, behind its file or folder, or move them one by one`
      )
  }
}

/** Nothing was moved yet. */
export function nothingMoved(): Moved {
  return { blobs: 0, skipped: 0, bytes: 0, skippedBytes: 0 }
}

/** Tells of blobs, and counts them. */
export function counting(report: Reporter, moved: Moved): Reporter {
  return {
    note: (text) => report.note(text),
    blob(name, total) {
      const shown = report.blob(name, total)
      return {
        add: (bytes) => shown.add(bytes),
        done(skipped) {
          shown.done(skipped)
          if (skipped) {
            moved.skipped++
            moved.skippedBytes += total ?? 0
          } else {
            moved.blobs++
            moved.bytes += total ?? 0
          }
        }
      }
    }
  }
}

/** The same bytes again and again, for a target that asks for them. */
export const bytesFrom = (bytes: Uint8Array) =>
  async function* (at: number): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(at)
  }

/** The manifest that an image is named by. @throws {MoveError} where it has none */
export function ownManifest({ manifests }: TarImage, shown: string): StoredManifest {
  const own = manifests.at(-1)
  if (own === undefined) throw new MoveError(`${shown} has no manifest`)
  return own
}

/**
 * Keeps an image whose layers are at `first` already under its name: what its own repository lacks is mounted from
 * there, then its config, and at last its manifests, so that nothing is seen of it before all is there.
 */
export async function deliver(
  image: TarImage,
  destination: Destination,
  first: ImageTarget,
  signal: AbortSignal
): Promise<Digest> {
  const { store, tag, shown } = destination
  await Promise.all(
    image.layers.map(async ({ blob }) => {
      if (store === first || (await store.hasBlob(blob, signal)) || (await store.mount(blob, signal))) return
      throw new MoveError(
        `${shown}: the registry does not take over layers from ${first.name}; push the images one by one`
      )
    })
  )
  await Promise.all(
    image.configs.map(async ({ digest, bytes }) => {
      const blob = { digest, size: bytes.length }
      if (!(await store.hasBlob(blob, signal))) await store.write(blob, bytesFrom(bytes), signal)
    })
  )
  const own = ownManifest(image, shown)
  for (const manifest of image.manifests)
    await store.putManifest(manifest, manifest === own ? tag : undefined, signal)
  return own.digest
}
