import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { looksLikeDomain } from '../oci/reference.ts'
import type { TreeView } from '../tree/index.ts'
import { type CarFile, openCar } from './car-blocks.ts'
import { type FilePlace, parseImage } from './places.ts'
import { createTreeSource, openRoot } from './tree-source.ts'
import { type ImageSource, MoveError, type Reporter } from './types.ts'

/** CAR files that hold registry trees, each opened and checked once. */
export interface CarStore {
  /** A repository in a CAR, as the gateway would name it. */
  source(place: FilePlace<'car'>, signal: AbortSignal): Promise<ImageSource>
  /** All tagged images of a CAR. @throws {MoveError} for one that holds none */
  images(place: FilePlace<'car'>, signal: AbortSignal): Promise<readonly FilePlace<'car'>[]>
  close(): Promise<void>
}

/** Makes it; opening a file is told of, as that takes as long as reading it. */
export function createCarStore(report: Reporter): CarStore {
  const cars = new Map<string, Promise<{ car: CarFile; view: TreeView }>>()

  function opened(path: string, signal: AbortSignal) {
    const before = cars.get(path)
    if (before !== undefined) return before
    const car = (async () => {
      const shown = report.blob(`check ${basename(path)}`, (await stat(path).catch(() => undefined))?.size)
      const file = await openCar(path, (bytes) => shown.add(bytes), signal)
      shown.done(false)
      return { car: file, view: openRoot(file.root, file.load) }
    })()
    cars.set(path, car)
    return car
  }

  /** The tree's name of a repository: with its domain in front, or without it. */
  async function inTree(view: TreeView, repository: string, signal: AbortSignal): Promise<string> {
    const [first = '', ...rest] = repository.split('/')
    const without = looksLikeDomain(first) ? [rest.join('/')] : [`local/${repository}`]
    for (const name of [repository, ...without])
      if (name !== '' && (await view.hasRepository(name, signal))) return name
    throw new MoveError(`the CAR has no repository ${repository}`)
  }

  return {
    async source(place, signal) {
      const { car, view } = await opened(place.path, signal)
      const { repository } = parseImage(place.image ?? '')
      return createTreeSource(view, car.load, await inTree(view, repository, signal), place.path)
    },
    async images({ path }, signal) {
      const { view } = await opened(path, signal)
      const found: FilePlace<'car'>[] = []
      for await (const repository of view.repositories('', signal)) {
        // the default domain is written, but not spoken
        const name = repository.replace(/^local\//, '')
        for (const tag of await view.tags(repository, signal))
          found.push({ kind: 'car', path, image: `${name}:${tag}` })
      }
      if (found.length === 0)
        throw new MoveError(`${path} holds no tagged image: its root is no registry tree`)
      return found
    },
    async close() {
      for (const opening of cars.values()) await opening.then(({ car }) => car.close()).catch(() => undefined)
    }
  }
}
