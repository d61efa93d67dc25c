import { CID } from 'multiformats/cid'
import { ConfigError } from '../config.ts'
import { parsePlace } from '../move/places.ts'
import { DEFAULT_DOMAIN, displayName, looksLikeDomain, parseRepository } from '../oci/reference.ts'
import { createBars } from './bars.ts'
import type { Call, Command, Operations } from './command.ts'
import { runMove, usage, withGateway } from './moving.ts'
import { formatBytes, formatJson } from './terminal.ts'

/** `seaway export NAME FILE` */
export const exportCommand: Command = {
  name: 'export',
  arguments: '<name> <file>',
  summary:
    'writes a repository, a domain or a root into a CAR or an OCI layout, to be carried to where no network is',
  examples: [
    ['seaway export example.com example.car', 'all of a domain, as one file'],
    ['seaway export example.com/app app.car', 'one repository'],
    ['seaway export example.com@3 old.car', 'a published root, by its number in seaway history; or its CID'],
    ['seaway export example.com/app oci:./app', 'one repository as an OCI layout']
  ],
  json: true,
  options: [],
  async run(context, [name = '', file = ''], options) {
    const place = usage(() => parsePlace(/^(?:car|oci):/.test(file) ? file : `car:${file}`))
    if ((place.kind !== 'car' && place.kind !== 'oci') || place.image !== undefined)
      throw new ConfigError(`${file} is neither a CAR nor oci:FOLDER`)
    const what = whatIs(name)
    if (place.kind === 'oci') {
      if (what.repository === undefined)
        throw new ConfigError(`an OCI layout holds one repository: name one, as in ${name}/app`)
      const repository = displayName(what.domain, what.repository)
      await runMove(context, { ...options, referrers: true }, true, [], async (stores, signal) => {
        const source = stores.gateway(repository)
        const tags = await source.tags(signal)
        const store = stores.layout(place.path)
        return {
          places: tags.map((tag) => ({ kind: 'gateway', image: { repository, tag, digest: undefined } })),
          target: {
            kind: 'stores',
            to: (called = '') => {
              const tag = called.slice(called.lastIndexOf(':') + 1)
              return { store, tag, shown: `oci:${place.path}:${tag}` }
            }
          }
        }
      })
      return
    }
    await withGateway(context, async (gateway, operations, call) => {
      const bars = createBars(process.stderr, options.json === true || place.path === '-')
      const shown = bars.reporter.blob(name, undefined)
      try {
        const root = await rootOf(what, operations, call)
        const repository =
          what.repository === undefined ? undefined : displayName(what.domain, what.repository)
        const names =
          repository === undefined
            ? undefined
            : [repository, `${what.domain}/${what.repository}`, what.repository ?? '']
        // loaded here because trees take most of a start, and only CARs need them
        const { exportCar } = await import('../move/car-export.ts')
        const written = await exportCar({
          gateway,
          root,
          names,
          path: place.path,
          count: (bytes) => shown.add(bytes),
          signal: call.signal
        })
        shown.done(false)
        bars.clear()
        const { blocks, bytes, resumed } = written
        const report = {
          version: 1,
          name,
          file: place.path,
          root: written.root.toString(),
          blocks,
          bytes,
          resumed
        }
        if (options.json === true) context.print(formatJson(report))
        else if (place.path !== '-') {
          const again = resumed === 0 ? '' : `, ${formatBytes(resumed)} of it were there already`
          context.print(
            `${name} → ${place.path}: root ${report.root}, ${blocks} blocks, ${formatBytes(bytes)}${again}`
          )
        }
      } finally {
        bars.clear()
      }
    })
  }
}

interface Named {
  /** A root by its CID. */
  readonly root?: CID
  /** A domain, perhaps with `@N`. */
  readonly domain: string
  readonly repository?: string
}

/** Reads a root's CID, a domain, or a repository. */
function whatIs(name: string): Named {
  const text = name.replace(/^\/?ipfs\//, '')
  if (/^(?:Qm|b)[A-Za-z0-9]{40,}$/.test(text)) {
    try {
      return { root: CID.parse(text).toV1(), domain: DEFAULT_DOMAIN }
    } catch {
      throw new ConfigError(`'${name}' is no CID of a root`)
    }
  }
  const [first = ''] = name.split('/')
  const isDomain = !name.includes('/') && (looksLikeDomain(first) || /^local(?:@|$)/.test(first))
  if (isDomain) return { domain: name }
  const { place, repository } = usage(() => parseRepository(name))
  if (place.kind !== 'domain')
    throw new ConfigError(`'${name}' is a repository of a root: export the root itself, by its CID`)
  return { domain: place.domain, repository }
}

async function rootOf({ root, domain }: Named, operations: Operations, call: Call): Promise<CID> {
  return root ?? CID.parse((await operations.root({ domain }, call)).root)
}
