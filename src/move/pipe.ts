import { createArchiveSink, nameOfArchive, openArchive } from './archive.ts'
import { counting, type Delivered, nothingMoved } from './deliver.ts'
import { checkPlatform } from './engine.ts'
import type { Manner, TarPlace, TarTarget } from './move.ts'
import { isImageId } from './places.ts'
import { type ThroughImage, throughTar } from './through-tar.ts'
import { type Moved, MoveError } from './types.ts'

/**
 * From an engine or archive into another one: the same tar, as it comes, checked while it passes.
 *
 * @throws {MoveError} as {@link throughTar} does, and where the engine hasn't got it in the end
 */
export async function pipe(
  place: TarPlace,
  target: TarTarget,
  manner: Pick<Manner, 'stores' | 'platform' | 'report' | 'signal'>
): Promise<{ delivered: Delivered[]; moved: Moved }> {
  const { stores, platform, report, signal } = manner
  const moved = nothingMoved()
  const engine = place.kind === 'archive' ? undefined : stores.engine(place.kind)
  const there = engine === undefined ? undefined : await engine.image(place.image ?? '', signal)
  if (there !== undefined) checkPlatform(there, place.image ?? '', platform)
  const to = (name: string) =>
    target.kind === 'archive' ? `archive:${target.path}` : `${target.engine.kind}:${name}`
  if (there !== undefined && target.kind === 'engine' && (await target.engine.has(there.id, signal))) {
    const name = target.name ?? place.image ?? ''
    // an id is no name
    if (!name.includes('@') && !isImageId(name)) await target.engine.tag(there.id, name, signal)
    return { delivered: [{ image: place.image ?? '', to: to(name), digest: there.id }], moved }
  }
  let images: readonly ThroughImage[] = []
  const tar = throughTar(
    {
      tar:
        place.kind === 'archive'
          ? await openArchive(place.path, signal)
          : stores.engine(place.kind).save([place.image], signal),
      name: place.kind === 'archive' ? nameOfArchive(place.path) : stores.engine(place.kind).name,
      image: place.kind === 'archive' ? place.image : undefined,
      as: target.name,
      platform,
      report: counting(report, moved)
    },
    (found) => {
      images = found
    }
  )
  if (target.kind === 'archive') await createArchiveSink(target.path, tar, signal)
  else await target.engine.load(tar, signal)
  for (const { id, name } of images)
    if (target.kind === 'engine' && !(await target.engine.has(id, signal)))
      throw new MoveError(
        `${target.engine.name} says that it took ${name ?? id}, but does not have it; see its log`
      )
  const delivered = images.map(({ was, name, id }) => ({ image: was ?? id, to: to(name ?? id), digest: id }))
  return { delivered, moved }
}
