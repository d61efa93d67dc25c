import { type PublisherSetting, publisher } from '../config/publishing.ts'
import { duration } from '../config/values.ts'
import { ConfigError } from '../config.ts'
import { parseDomain } from '../oci/reference.ts'
import type { PublishReport, PublishRequest } from '../registry/index.ts'
import type { Command } from './command.ts'
import type { Screen } from './screen.ts'
import { formatJson, formatTable } from './terminal.ts'

/** How long `--wait` waits if it isn't told. */
const WAIT = '5m'

const FORMATS = ['table', 'zone', 'json']

type Options = Parameters<Command['run']>[2]

/** `seaway publish DOMAIN` */
export const publish: Command = {
  name: 'publish',
  arguments: '<domain>',
  summary: "makes a domain's current root the published one: prints its TXT records, or puts them into DNS",
  examples: [
    ['seaway publish example.com', 'prints the records, and what DNS says now'],
    ['seaway publish example.com --format zone >> example.com.zone', 'as lines of a zone file'],
    ["seaway publish example.com --dns 'rfc2136?server=ns1.example.com&key=/etc/seaway/example.key'", ''],
    ["seaway publish example.com --dns 'cloudflare?token=/etc/seaway/cloudflare.token' --wait", ''],
    ["seaway publish example.com --exec './to-my-provider.sh'", 'with PUBLISH_DNSLINK_VALUE and others set']
  ],
  json: true,
  options: [
    {
      flags: '--dns <way>',
      about: 'rfc2136?key=…, cloudflare?token=… or none; as SEAWAY_PUBLISHERS says if not given'
    },
    { flags: '--exec <command>', about: 'a shell command that puts the records into DNS' },
    { flags: '--ipns', about: 'publish by an IPNS name, so that the dnslink record never changes again' },
    { flags: '--ttl <seconds>', about: 'time for which resolvers may keep the records; default 60' },
    { flags: '--force', about: 'publish over a root that the tree here does not descend from' },
    { flags: '--dry-run', about: 'change nothing, only say what would be' },
    {
      flags: '--wait [time]',
      about: `wait until all resolvers see the records; at most ${WAIT} if not told`
    },
    {
      flags: '--format <format>',
      about: 'table, zone (lines of a zone file alone on stdout) or json; default table'
    }
  ],
  async run({ operate, print, screen }, [domain = ''], options) {
    const format = options.json === true ? 'json' : String(options['format'] ?? 'table')
    if (!FORMATS.includes(format))
      throw new ConfigError(`--format is '${format}', but must be ${FORMATS.join(', ')}`)
    const request = requestOf(parseDomain(domain), options)
    const report = await operate((operations, call) => operations.publish(request, call))
    if (format === 'json') print(formatJson(report))
    else if (format === 'zone') for (const { zone } of report.records) print(zone)
    else for (const line of tableOf(report, request, screen)) print(line)
  }
}

function requestOf(domain: string, options: Options): PublishRequest {
  const way = wayOf(options)
  const ttl = options['ttl']
  if (ttl !== undefined && !/^[1-9]\d{0,6}$/.test(String(ttl)))
    throw new ConfigError(`--ttl is '${ttl}', but must be a number of seconds`)
  return {
    domain,
    ...(way === undefined ? {} : { publisher: way }),
    ...(options['ipns'] === true ? { ipns: true } : {}),
    ...(ttl === undefined ? {} : { ttl: Number(ttl) }),
    ...(options['force'] === true ? { force: true } : {}),
    ...(options['dryRun'] === true ? { dryRun: true } : {}),
    ...(options['wait'] === undefined ? {} : { waitMs: waitOf(options['wait']) })
  }
}

function waitOf(value: unknown): number {
  const text = value === true ? WAIT : String(value)
  try {
    return duration(text)
  } catch (error) {
    throw new ConfigError(`--wait is '${text}', but ${(error as Error).message}`)
  }
}

function wayOf(options: Options): PublisherSetting | undefined {
  const { dns, exec } = options
  if (dns !== undefined && exec !== undefined) throw new ConfigError('--dns and --exec exclude each other')
  // a program is looked for where the command was given, also when the running gateway starts it
  if (exec !== undefined) return { way: 'exec', options: { command: String(exec), folder: process.cwd() } }
  if (dns === undefined) return undefined
  try {
    return publisher(String(dns))
  } catch (error) {
    throw new ConfigError(`--dns is '${dns}', but ${(error as Error).message}`)
  }
}

function shownBy({ agrees, differs, link }: PublishReport['servers'][number]): string {
  if (agrees) return 'sees it'
  if (link === undefined) return 'has no record yet'
  return differs?.includes('dnslink=') === false ? `does not show ${differs.join()}… yet` : `shows ${link}`
}

/** The report as people read it. */
function tableOf(report: PublishReport, request: PublishRequest, screen: Screen): string[] {
  const { domain, root, records, servers, outcome, via, before } = report
  const done = {
    published: `${domain} is published at root ${root}${via === undefined ? '' : ` by ${via}`}`,
    unchanged: `${domain} is published at root ${root}: DNS agrees already, nothing was changed`,
    printed:
      request.dryRun === true
        ? `${domain} would be published at root ${root}${via === undefined ? '' : ` by ${via}`}`
        : `${domain} is at root ${root}; put these records into its zone to publish it`
  }[outcome]
  const lines = [done, '']
  if (before !== undefined && before !== root) lines.push(`  before it published ${before}`, '')
  const rows = records.map(({ name, type, ttl, strings }) => [
    name,
    type,
    String(ttl),
    strings.map((part) => JSON.stringify(part)).join(' ')
  ])
  lines.push(
    ...formatTable(['NAME', 'TYPE', 'TTL', 'VALUE'], rows, [2], screen).map((line) => `  ${line}`),
    ''
  )
  const seen = servers.map((each) => [
    each.server,
    each.problem ?? shownBy(each),
    each.authenticated === true ? 'validated with DNSSEC' : ''
  ])
  if (seen.length > 0)
    lines.push(...formatTable(['RESOLVER', '', ''], seen, [], screen).map((line) => `  ${line}`), '')
  lines.push(...report.advice.map((line) => `  ${line}`))
  return lines
}
