import { ConfigError } from '../config.ts'
import { isImageId, nameInGateway, type Place, parseImage, parsePlace } from '../move/places.ts'
import { MoveError } from '../move/types.ts'
import type { Command } from './command.ts'
import { domainOf, inGateway, MOVE_OPTIONS, runMove, usage } from './moving.ts'

/** Where layers of an archive wait until its list of images has come. */
const WAITING = 'incoming'

/** `seaway push IMAGE…` */
export const push: Command = {
  name: 'push',
  arguments: '<image...>',
  summary:
    'puts images of the Docker engine, podman, an OCI layout, an archive or another registry into the gateway',
  examples: [
    ['seaway push app:1 --to example.com', "the Docker engine's app:1, as example.com/app:1"],
    ['seaway push example.com/app:1 example.com/web:1', 'several at once: what they share is moved once'],
    ['seaway push podman:app:1', "podman's app:1"],
    ['docker save app:1 | seaway push - --to example.com', 'an archive from stdin; or archive:app.tar'],
    ['seaway push oci:./app:1 --name example.com/app:1', 'an image of an OCI layout'],
    ['seaway push docker://quay.io/team/app:1', 'out of another registry'],
    ['seaway push app:1 --compression zstd --gateway gw.example.com', 'into another gateway, with zstd']
  ],
  json: true,
  options: [
    { flags: '--to <domain>', about: 'the domain that images go to, in place of the one in their names' },
    { flags: '--name <name>', about: 'what a single image is called there' },
    {
      flags: '--from <engine>',
      choices: ['docker', 'podman'],
      about: 'where names without a scheme are: docker or podman; default docker'
    },
    ...MOVE_OPTIONS
  ],
  async run(context, images, options) {
    const from = String(options['from'] ?? 'docker')
    if (from !== 'docker' && from !== 'podman')
      throw new ConfigError(`--from is '${from}', but must be docker or podman`)
    const domain = domainOf(options['to'])
    const name = options['name'] === undefined ? undefined : usage(() => parseImage(String(options['name'])))
    if (name !== undefined && domain !== undefined)
      throw new ConfigError('--name says the domain, too: --to goes without it')
    if (name !== undefined && images.length > 1)
      throw new ConfigError('--name is for one image; push the others by themselves')
    const places: Place[] = images.map((image) => usage(() => parsePlace(image, from)))
    // before anything is moved
    if (name === undefined)
      for (const place of places)
        if (place.kind === 'docker' || place.kind === 'podman') {
          if (isImageId(place.image))
            throw new ConfigError(
              `'${place.image}' is the id of an image: say what it is called, --name NAME`
            )
          usage(() => nameInGateway(place.image, domain))
        }
    await runMove(context, options, true, places, async (stores) => ({
      places,
      target: {
        kind: 'stores',
        to: (called, unnamed) => {
          if (name !== undefined) return inGateway(stores, name)
          if (called !== undefined) return inGateway(stores, nameInGateway(called, domain))
          const { from = 'what is pushed', tag } = unnamed ?? {}
          const only = tag === undefined ? '' : `, only with the tag ${tag}`
          throw new MoveError(
            `${from} has an image without a name${only}: say what it is called, --name NAME`
          )
        },
        ...(name === undefined && {
          first: () => stores.gateway(nameInGateway(WAITING, domain).repository)
        })
      }
    }))
  }
}
