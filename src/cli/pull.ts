import { ConfigError } from '../config.ts'
import { type Place, parsePlace } from '../move/places.ts'
import { MoveError } from '../move/types.ts'
import type { Command } from './command.ts'
import { MOVE_OPTIONS, runMove, usage } from './moving.ts'
import { mover } from './stores.ts'

/** `seaway pull IMAGE…` */
export const pull: Command = {
  name: 'pull',
  arguments: '<image...>',
  summary: 'fetches images through the gateway into the Docker engine, podman, an OCI layout or an archive',
  examples: [
    ['seaway pull example.com/app:1', 'into the Docker engine, under the same name'],
    ['seaway pull example.com/app:1 example.com/web:1', 'several at once: what they share is fetched once'],
    ['seaway pull app:1 --into podman --platform linux/arm64', 'into podman, for another platform'],
    ['seaway pull example.com/app:1 --into oci:./app', 'into an OCI layout, all platforms'],
    ['seaway pull example.com/app:1 --into archive:app.tar', 'a file for docker load; archive:- is stdout']
  ],
  json: true,
  options: [
    { flags: '--into <place>', about: 'docker, podman, oci:FOLDER or archive:FILE; default docker' },
    ...MOVE_OPTIONS
  ],
  async run(context, images, options) {
    const into = String(options['into'] ?? 'docker')
    const places: Place[] = images.map((image) => usage(() => parsePlace(image)))
    for (const place of places)
      if (place.kind !== 'gateway')
        throw new ConfigError(
          "pull takes names of the gateway's images; seaway copy moves between any two places"
        )
    const needsGateway = true
    if (into === 'docker' || into === 'podman') {
      await runMove(context, options, needsGateway, [], async (stores) => ({
        places,
        target: { kind: 'engine', engine: stores.engine(into), name: undefined }
      }))
      return
    }
    const place = usage(() => parsePlace(into === '-' ? 'archive:-' : into))
    if ((place.kind !== 'oci' && place.kind !== 'archive') || place.image !== undefined)
      throw new ConfigError(`--into is '${into}', but must be docker, podman, oci:FOLDER or archive:FILE`)
    await runMove(context, options, needsGateway, [], async (stores) => {
      if (place.kind === 'archive')
        return { places, target: { kind: 'archive', path: place.path, name: undefined } }
      if (!(await (await mover()).mayBeLayout(place.path)))
        throw new MoveError(`${place.path} holds something else than an OCI layout; name a new folder`)
      // images of several repositories are told apart by their whole names
      const several =
        new Set(places.map((each) => (each.kind === 'gateway' ? each.image.repository : ''))).size > 1
      const tagOf = (name = '') => (several ? name : name.slice(name.lastIndexOf(':') + 1))
      const store = stores.layout(place.path)
      return {
        places,
        target: {
          kind: 'stores',
          to: (name) => ({
            store,
            tag: name?.includes('@') === true ? undefined : tagOf(name),
            shown: `oci:${place.path}:${tagOf(name)}`
          })
        }
      }
    })
  }
}
