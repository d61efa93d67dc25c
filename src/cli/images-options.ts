import { duration, size } from '../config/values.ts'
import { ConfigError } from '../config.ts'
import type { ImageFilter, ImageSummary } from '../registry/look-summary.ts'
import { type CommandOption } from './command.ts'
import { IN } from './look.ts'

/** Orders that a list can have. */
const ORDERS = ['name', 'version', 'created', 'size', 'layers'] as const

/** How a list is ordered. */
export type Order = (typeof ORDERS)[number]

/** How many images are ordered at most, where all are wanted: each takes memory until the last is known. */
export const MAX_ORDERED = 100_000

/** The options of commands that list images. */
export const LIST_OPTIONS: readonly CommandOption[] = [
  IN,
  {
    flags: '--label <key[=value]>',
    about: 'only with this label; said again, all must hold',
    repeated: true
  },
  { flags: '--platform <os/arch>', about: 'only for this platform, and its size, layers, time and labels' },
  { flags: '--older <time>', about: 'only made longer ago than this (30d), or before a date' },
  { flags: '--newer <time>', about: 'only made since then' },
  { flags: '--larger <size>', about: 'only with more than this (100MB), compressed' },
  { flags: '--smaller <size>', about: 'only with less' },
  {
    flags: '--sort <order>',
    choices: ORDERS,
    about: `by ${ORDERS.join(', ')}: created newest first, size and layers largest first; default name`
  },
  { flags: '--reverse', about: 'the other way round' },
  { flags: '--limit <number>', about: 'at most so many' },
  { flags: '--count', about: 'only how many there are' },
  { flags: '-q, --quiet', about: 'only names, without reading manifests' },
  { flags: '--full', about: 'whole digests, times and labels' }
]

/** Those options, read. */
export interface ListOptions {
  readonly filter: ImageFilter
  readonly order: Order
  readonly reverse: boolean
  readonly limit: number | undefined
  readonly count: boolean
  readonly quiet: boolean
  readonly full: boolean
  readonly json: boolean
}

/** Values as they come from the command line. */
export type Given = Readonly<Record<string, string | boolean | readonly string[] | undefined>>

/** Reads them. @throws {ConfigError} */
export function listOptions(given: Given, now = Date.now()): ListOptions {
  const text = (name: string): string | undefined => {
    const value = given[name]
    return typeof value === 'string' ? value : undefined
  }
  const read = <T>(name: string, how: (value: string) => T): T | undefined => {
    const value = text(name)
    if (value === undefined) return undefined
    try {
      return how(value)
    } catch (error) {
      throw new ConfigError(`--${name} is '${value}', but ${(error as Error).message}`)
    }
  }
  const time = (value: string): number => {
    if (/^\d{4}-\d{2}-\d{2}/.test(value) && !Number.isNaN(Date.parse(value))) return Date.parse(value)
    try {
      return now - duration(value)
    } catch {
      throw new Error('a time like 12h or 30d, or a date like 2026-01-31, is needed')
    }
  }
  const labels = [given['label'] ?? []].flat().filter((one): one is string => typeof one === 'string')
  const filter: ImageFilter = {
    ...(labels.length > 0 && { labels }),
    ...defined('platform', read('platform', platform)),
    ...defined('olderThan', read('older', time)),
    ...defined('newerThan', read('newer', time)),
    ...defined('largerThan', read('larger', size)),
    ...defined('smallerThan', read('smaller', size))
  }
  return {
    filter,
    order: read('sort', order) ?? 'name',
    reverse: given['reverse'] === true,
    limit: read('limit', atLeastOne),
    count: given['count'] === true,
    quiet: given['quiet'] === true,
    full: given['full'] === true,
    json: given['json'] === true
  }
}

const defined = <T>(name: keyof ImageFilter, value: T | undefined) =>
  value === undefined ? {} : { [name]: value }

function platform(text: string): string {
  if (/^[a-z0-9]+\/[a-z0-9]+(?:\/[a-z0-9.]+)?$/.test(text)) return text
  throw new Error('a platform like linux/amd64 or linux/arm/v7 is needed')
}

function order(text: string): Order {
  const found = ORDERS.find((one) => one === text)
  if (found !== undefined) return found
  throw new Error(`one of ${ORDERS.join(', ')} is needed`)
}

function atLeastOne(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new Error('a number from 1 on is needed')
}

const versions = new Intl.Collator('en', { numeric: true })

/** Compares two images for an order; what isn't known comes last. */
export function comparing(by: Order, reverse: boolean): (a: ImageSummary, b: ImageSummary) => number {
  const nameOf = ({ repository, tag = '' }: ImageSummary) => `${repository}\0${tag}`
  const byName = (a: ImageSummary, b: ImageSummary) =>
    nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0
  const amount = (image: ImageSummary): number | undefined => {
    if (by === 'size') return image.size
    if (by === 'layers') return image.layers
    const at = Date.parse(image.created ?? '')
    return Number.isNaN(at) ? undefined : at
  }
  const sign = reverse ? -1 : 1
  if (by === 'name') return (a, b) => sign * byName(a, b)
  if (by === 'version')
    return (a, b) =>
      sign * (versions.compare(a.repository, b.repository) || versions.compare(a.tag ?? '', b.tag ?? ''))
  return (a, b) => {
    const [x, y] = [amount(a), amount(b)]
    if (x === undefined || y === undefined) return x === y ? byName(a, b) : x === undefined ? 1 : -1
    return sign * (y - x) || byName(a, b)
  }
}
