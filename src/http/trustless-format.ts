import type { Context } from 'koa'
import { RegistryError } from '../oci/errors.ts'
import { queryOf } from './request.ts'

const RAW = 'application/vnd.ipld.raw'
const CAR = 'application/vnd.ipld.car'

/** What a client wants to be sent. */
export interface Format {
  readonly kind: 'raw' | 'car'
  /** For a CAR: whether a block that occurs again is sent again. */
  readonly dups: boolean
  /** The format was named by `Accept` alone, so that the URL doesn't say what it holds. */
  readonly negotiated: boolean
}

/** Media ranges that are looked at in one header. */
const MAX_RANGES = 32

interface MediaRange {
  type: string
  parameters: Map<string, string>
  weight: number
}

/** The media ranges of an `Accept` header, best first. @see https://www.rfc-editor.org/rfc/rfc9110#name-accept */
function rangesOf(accept: string): MediaRange[] {
  return accept
    .split(',', MAX_RANGES)
    .map((part) => {
      const [type = '', ...rest] = part.split(';').map((text) => text.trim())
      const pairs = rest.map((text): [string, string] => {
        const [name = '', value = ''] = text.split('=')
        return [name.trim().toLowerCase(), value.trim().replaceAll('"', '').toLowerCase()]
      })
      const parameters = new Map(pairs)
      const weight = Number(parameters.get('q') ?? 1)
      return { type: type.toLowerCase(), parameters, weight: Number.isNaN(weight) ? 0 : weight }
    })
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => b.weight - a.weight)
}

/** Whether the CAR that a client describes is one that is written here. */
function isWritten(parameters: ReadonlyMap<string, string>): boolean {
  const fits = (name: string, values: readonly string[]) => {
    const value = parameters.get(name)
    return value === undefined || value === '' || values.includes(value)
  }
  return fits('version', ['1']) && fits('order', ['dfs', 'unk']) && fits('dups', ['y', 'n'])
}

/**
 * The format that a request asks for: `format` in its query before `Accept`, and the parameters of a CAR in the
 * query before those in `Accept`. Without a word about duplicates they are left out.
 *
 * @throws {RegistryError} REQUEST_INVALID (400) where neither names a format that can be verified, and 406 for
 *   a CAR of another version or order than the ones that are written
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/#car-format-signaling-in-request
 */
export function formatOf(ctx: Context): Format {
  const named = queryOf(ctx, 'format')
  const ranges = rangesOf(ctx.get('Accept')).filter(({ type }) => type === RAW || type === CAR)
  const wanted = named ?? ranges[0]?.type
  const negotiated = named === undefined
  if (wanted === 'raw' || wanted === RAW) return { kind: 'raw', dups: false, negotiated }
  if (wanted !== 'car' && wanted !== CAR) {
    throw new RegistryError(
      'REQUEST_INVALID',
      'only what can be verified is served here: ask with format=raw or format=car'
    )
  }
  const query = ['version', 'order', 'dups'].flatMap((name): [string, string][] => {
    const value = queryOf(ctx, `car-${name}`)
    return value === undefined ? [] : [[name, value]]
  })
  const cars = ranges.filter(({ type }) => type === CAR).map(({ parameters }) => parameters)
  const asked = (cars.length > 0 ? cars : [new Map<string, string>()]).map(
    (parameters) => new Map([...parameters, ...query])
  )
  const chosen = asked.find(isWritten)
  if (chosen === undefined) {
    throw new RegistryError('REQUEST_INVALID', 'CARs are written here as version=1, order=dfs, dups=y or n', {
      status: 406
    })
  }
  return { kind: 'car', dups: chosen.get('dups') === 'y', negotiated }
}
