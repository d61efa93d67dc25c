import { size } from '../config/values.ts'
import { ConfigError } from '../config.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Command, Operations } from './command.ts'
import type { Screen } from './screen.ts'
import { formatBytes, formatJson, formatTable } from './terminal.ts'

/** Leaves half of what a disk gives to those who pull meanwhile. */
const RATE = '100MB'

/** `seaway verify` */
export const verify: Command = {
  name: 'verify',
  arguments: '',
  summary:
    'reads everything in the store against its digest and CID, sets aside what is damaged and fetches it again',
  examples: [
    ['seaway verify', 'goes on where the last one was interrupted'],
    ['seaway verify --restart --rate 20MB', 'begins anew, slowly'],
    ['seaway verify --rate none --json', 'as fast as it can']
  ],
  json: true,
  options: [
    { flags: '--rate <size>', about: `how much is read in a second at most, or none; default ${RATE}` },
    { flags: '--restart', about: 'begins anew instead of going on where the last one was interrupted' }
  ],
  async run({ operate, print, screen, config }, _args, { json, rate, restart }) {
    const limit = rateOf(typeof rate === 'string' ? rate : RATE)
    const report = await operate((operations, call) =>
      operations.verify({ restart: restart === true, ...(limit === undefined ? {} : { rate: limit }) }, call)
    )
    if (json) print(formatJson(report))
    else for (const line of textOf(report, config.data, screen)) print(line)
    if (report.bad === 0 && report.rootless.length === 0) return
    throw new RegistryError(
      'UNAVAILABLE',
      `${report.bad} damaged things could not be repaired, and ${report.rootless.length} trees have no root: ` +
        'connect a peer that has them (SEAWAY_PEERS) or push them again, then run seaway verify'
    )
  }
}

type Report = Awaited<ReturnType<Operations['verify']>>

function rateOf(text: string): number | undefined {
  if (text === 'none') return undefined
  try {
    const rate = size(text)
    if (rate > 0) return rate
    throw new Error('more than 0B is needed')
  } catch (error) {
    throw new ConfigError(`--rate is '${text}', but ${(error as Error).message}, or none`)
  }
}

function textOf(report: Report, data: string, screen: Screen): string[] {
  const { blobs, blocks, bytes, mended, damaged, found, bad, rootless } = report
  const lines = [`checked ${blobs} blobs and ${blocks} small blocks, ${formatBytes(bytes)}`]
  if (mended > 0) lines.push(`mended what the index said of ${mended} blobs, whose bytes were right`)
  if (found.length === 0 && rootless.length === 0)
    return [...lines, 'all of it is what it was when it was kept']
  const unneeded = found.filter(({ state }) => state === 'unneeded').length
  const rest = unneeded === 0 ? '' : `, ${unneeded} not needed any more`
  lines.push(
    `found ${damaged} damaged parts in ${found.length} things; ${found.length - bad - unneeded} repaired, ${bad} not${rest}`,
    '',
    ...formatTable(
      ['WHAT', 'SIZE', 'DAMAGED', 'FOUND BY', 'STATE', 'HOW'],
      found.map((entry) => [
        entry.id.length > 40 ? `${entry.id.slice(0, 39)}…` : entry.id,
        formatBytes(entry.size),
        String(entry.damaged),
        entry.foundBy,
        entry.state,
        entry.outcome
      ]),
      [1, 2],
      screen
    ),
    ...rootless.map((domain) => `no root: ${domain}`),
    '',
    `what was damaged is kept in ${data}/quarantine until you delete it there`
  )
  return lines
}
