import { duration, list, plain } from './values.ts'

/** How a domain's records get into DNS: a way, and its options. */
export interface PublisherSetting {
  readonly way: string
  readonly options: Readonly<Record<string, string>>
}

/**
 * A way to publish: `rfc2136?server=ns.example.com&key=/etc/seaway/example.key`, values percent-encoded where
 * they hold `&`, `,` or `%`. Throws an Error that says what is needed.
 */
export function publisher(text: string): PublisherSetting {
  const [way = '', query = ''] = text.split(/\?(.*)/s)
  if (!/^[a-z0-9]+$/.test(way)) throw new Error(`'${text}' does not begin with a way to publish`)
  const options: Record<string, string> = {}
  for (const part of query.split('&').filter((each) => each !== '')) {
    const [key = '', value] = part.split(/=(.*)/s)
    if (key === '' || value === undefined) throw new Error(`'${part}' is not OPTION=VALUE`)
    try {
      options[key] = decodeURIComponent(value)
    } catch {
      throw new Error(`'${value}' has a % that encodes nothing (a % itself is %25)`)
    }
  }
  return { way, options }
}

/**
 * Domains and how they are published: `example.com=WAY?OPTION=VALUE&…`, several parted by commas, or, as the
 * settings file has it, JSON of domains to ways, or to objects with `dns` and the options. Throws an Error that
 * says what is needed.
 */
export function publishers(text: string): ReadonlyMap<string, PublisherSetting> {
  const found = new Map<string, PublisherSetting>()
  const add = (domain: string, setting: PublisherSetting) => {
    const name = domain.toLowerCase().replace(/\.$/, '')
    if (!name.includes('.')) throw new Error(`'${domain}' is not a domain`)
    found.set(name, setting)
  }
  if (text.startsWith('{')) {
    for (const [domain, value] of Object.entries(JSON.parse(text) as Record<string, unknown>)) {
      if (typeof value !== 'object' || value === null) add(domain, publisher(String(value)))
      else {
        const { dns = 'none', ...rest } = value as Record<string, unknown>
        const words = Object.entries(rest).map(([key, each]) => [
          key,
          typeof each === 'boolean' ? (each ? 'yes' : 'no') : String(each)
        ])
        add(domain, { way: String(dns), options: Object.fromEntries(words) })
      }
    }
    return found
  }
  for (const part of list(plain)(text)) {
    const [domain = '', value] = part.split(/=(.*)/s)
    if (value === undefined) throw new Error(`'${part}' is not DOMAIN=WAY`)
    add(domain, publisher(value))
  }
  return found
}

/** Which tags of the repositories that a glob matches stay. */
export interface RetentionRule {
  /** Of the repository as clients name it: `*` for anything within a component, `**` across them. */
  readonly repositories: string
  /** The last so many tags that were pushed stay. */
  readonly last: number
  /** What was pushed in the last so many milliseconds stays. */
  readonly newerMs: number
  /** Tags that one of these globs matches stay. */
  readonly match: readonly string[]
}

const RETENTION_EXAMPLE = 'example.com/app last=10 newer=30d match=v*'

/**
 * A rule, `GLOB [last=N] [newer=TIME] [match=GLOB]…`: a tag stays if one of its parts says so.
 *
 * Throws an Error that says what is needed.
 */
export function retentionRule(text: string): RetentionRule {
  const [repositories = '', ...parts] = text.trim().split(/\s+/)
  let last = 0
  let newerMs = 0
  const match: string[] = []
  for (const part of parts) {
    const [key = '', value = ''] = part.split(/=(.*)/s)
    if (key === 'last' && /^\d{1,6}$/.test(value)) last = Number(value)
    else if (key === 'newer') newerMs = duration(value)
    else if (key === 'match' && value !== '') match.push(value)
    else
      throw new Error(
        `'${part}' is none of last=NUMBER, newer=TIME and match=GLOB, as in '${RETENTION_EXAMPLE}'`
      )
  }
  // A rule that keeps nothing is surely a slip.
  if (parts.length === 0)
    throw new Error(`'${text}' says nothing of what stays: write it like '${RETENTION_EXAMPLE}'`)
  return { repositories, last, newerMs, match }
}
