import { ConfigError } from '../config.ts'
import { type FilePlace, nameInGateway, type Place, parseImage, parsePlace } from '../move/places.ts'
import type { Command } from './command.ts'
import { domainOf, inGateway, MOVE_OPTIONS, runMove, usage } from './moving.ts'

/** `seaway import FILE…`; the word itself is taken in TypeScript. */
export const importCommand: Command = {
  name: 'import',
  arguments: '<file...>',
  summary:
    'takes in what seaway export wrote: CARs, every block checked, and OCI layouts; with no network at all',
  examples: [
    ['seaway import example.car', 'every tagged image in it, under the name that it has there'],
    ['seaway import example.car --to example.org', 'below another domain'],
    ['seaway import oci:./app --name example.com/app', 'an OCI layout; its tags stay']
  ],
  json: true,
  options: [
    { flags: '--to <domain>', about: 'the domain that images go to, in place of the one in their names' },
    { flags: '--name <repository>', about: 'the repository that the images of one file go to' },
    ...MOVE_OPTIONS.filter(({ flags }) => /^--(?:gateway|user)/.test(flags))
  ],
  async run(context, files, options) {
    const domain = domainOf(options['to'])
    const name = options['name'] === undefined ? undefined : usage(() => parseImage(String(options['name'])))
    if (name !== undefined && domain !== undefined)
      throw new ConfigError('--name says the domain, too: --to goes without it')
    if (name !== undefined && files.length > 1) throw new ConfigError('--name is for one file')
    const places: Place[] = files.map((file) => {
      const place = usage(() => parsePlace(/^(?:car|oci):/.test(file) ? file : `car:${file}`))
      if (place.kind !== 'car' && place.kind !== 'oci')
        throw new ConfigError(`${file} is neither a CAR nor oci:FOLDER`)
      return place satisfies FilePlace<'car'> | FilePlace<'oci'>
    })
    await runMove(context, { ...options, referrers: true }, true, [], async (stores) => ({
      places,
      target: {
        kind: 'stores',
        to: (called = '') => {
          const own = nameInGateway(called, domain)
          return inGateway(stores, name === undefined ? own : { ...own, repository: name.repository })
        }
      }
    }))
  }
}
