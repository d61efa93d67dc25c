import { ConfigError } from '../config.ts'
import type { Target } from '../move/index.ts'
import {
  type EnginePlace,
  type ImageName,
  imageText,
  nameInGateway,
  type Place,
  parsePlace
} from '../move/places.ts'
import { MoveError } from '../move/types.ts'
import type { Command } from './command.ts'
import { inGateway, MOVE_OPTIONS, runMove, usage } from './moving.ts'
import { mover, type OpenStores } from './stores.ts'

/** `seaway copy SOURCE TARGET` */
export const copy: Command = {
  name: 'copy',
  arguments: '<source> <target>',
  summary: 'copies an image between any two places, with every digest kept wherever both keep digests',
  examples: [
    ['seaway copy example.com/app:1 example.com/app:stable', 'within the gateway: nothing is moved'],
    [
      'seaway copy docker://quay.io/team/app:1 team/app:1 --referrers',
      'from another registry, with its signatures'
    ],
    [
      'seaway copy example.com/app:1 docker://registry.example.net/app:1',
      'into another registry (docker login)'
    ],
    ['seaway copy docker:app:1 podman:app:1', 'from the Docker engine into podman'],
    ['seaway copy oci:./app:1 archive:app.tar', 'from an OCI layout into a file for docker load'],
    ['seaway copy car:example.car:example.com/app:1 docker:app:1', 'out of a CAR into the Docker engine']
  ],
  json: true,
  options: MOVE_OPTIONS,
  async run(context, [from = '', to = ''], options) {
    const source = usage(() => parsePlace(from))
    // without an image, an engine takes the name that the source has
    const engine = /^(docker|podman):?$/.exec(to)?.[1]
    const target = engine === undefined ? usage(() => parsePlace(to)) : undefined
    if (target?.kind === 'car') throw new ConfigError('seaway export writes CARs')
    const needsGateway = source.kind === 'gateway' || target?.kind === 'gateway'
    await runMove(context, options, needsGateway, [], async (stores) => ({
      places: [source],
      target:
        target === undefined
          ? { kind: 'engine', engine: stores.engine(engine as 'docker' | 'podman'), name: undefined }
          : await targetAt(stores, target, source)
    }))
  }
}

async function targetAt(
  stores: OpenStores,
  place: Exclude<Place, { kind: 'car' }>,
  source: Place
): Promise<Target> {
  if (isEngine(place))
    return { kind: 'engine', engine: stores.engine(place.kind), name: withTag(place.image) }
  if (place.kind === 'archive') return { kind: 'archive', path: place.path, name: place.image }
  if (place.kind === 'gateway')
    return { kind: 'stores', to: () => inGateway(stores, targetName(place.image, source)) }
  if (place.kind === 'registry') {
    const image = targetName(place.image, source)
    const store = stores.registry(place, image.repository)
    const shown = `${place.url.host}/${imageText(image)}`
    return { kind: 'stores', to: () => ({ store, tag: image.tag, shown }) }
  }
  if (!(await (await mover()).mayBeLayout(place.path)))
    throw new MoveError(`${place.path} holds something else than an OCI layout; name a new folder`)
  const store = stores.layout(place.path)
  const tagOf = (called: string | undefined, tag = 'latest') =>
    place.image ?? (called === undefined ? tag : nameInGateway(called, undefined).tag)
  return {
    kind: 'stores',
    to: (called, unnamed) => {
      const tag = tagOf(called, unnamed?.tag)
      return { store, tag, shown: `oci:${place.path}${tag === undefined ? '' : `:${tag}`}` }
    }
  }
}

const isEngine = (place: Place): place is EnginePlace => place.kind === 'docker' || place.kind === 'podman'

const withTag = (image: string): string => (/:[^/]+$/.test(image) ? image : `${image}:latest`)

/** A digest names what is there, so a target has none; by digest alone, an image has no tag there. */
function targetName(image: ImageName, source: Place): ImageName {
  const byDigest = (source.kind === 'gateway' || source.kind === 'registry') && source.image.tag === undefined
  return image.digest === undefined
    ? image
    : { ...image, tag: byDigest ? undefined : image.tag, digest: undefined }
}
