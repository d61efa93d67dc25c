import type { Command, Operations } from './command.ts'
import type { Screen } from './screen.ts'
import { formatBytes, formatJson, formatTable } from './terminal.ts'

/** `seaway usage [DOMAIN|REPOSITORY]` */
export const usage: Command = {
  name: 'usage',
  arguments: '[name]',
  summary:
    'shows what domains and repositories take, what deduplication saves, what went to and fro, and the limits',
  examples: [
    ['seaway usage', 'of everything'],
    ['seaway usage example.com', 'of one domain'],
    ['seaway usage example.com/app --json', 'of one repository, for a program']
  ],
  json: true,
  async run({ operate, print, screen }, [name], { json }) {
    const report = await operate((operations, call) =>
      operations.usage(name === undefined ? {} : { name }, call)
    )
    if (json) print(formatJson(report))
    else for (const line of textOf(report, screen)) print(line)
  }
}

type Report = Awaited<ReturnType<Operations['usage']>>
type Row = Report['repositories'][number]

function textOf(report: Report, screen: Screen): string[] {
  const { store, domains, repositories, more, warnings } = report
  const limit = (bytes: number | undefined, percent?: number) =>
    bytes === undefined ? '' : ` of ${formatBytes(bytes)}${percent === undefined ? '' : ` (${percent} %)`}`
  const lines = [
    `content     ${formatBytes(store.used)}${limit(store.limit, store.percent)}`,
    `  pushed    ${formatBytes(store.pushed)}`,
    `  cached    ${formatBytes(store.cached)}${limit(store.cacheLimit)}`,
    `index       ${formatBytes(store.index)}`,
    `arriving    ${formatBytes(store.incoming)}`,
    `quarantine  ${formatBytes(store.quarantine)}`,
    `free disk   ${formatBytes(store.free)}`,
    `today       ${going(store.today)}`,
    `this month  ${going(store.month)}`
  ]
  const table = (head: string, rows: readonly Row[], limits: readonly string[]) =>
    formatTable(
      [
        head,
        'IMAGES',
        'TAGS',
        'AS PUSHED',
        'ON DISK',
        'SAVED',
        'LIMIT',
        'IN TODAY',
        'OUT TODAY',
        'IN MONTH',
        'OUT MONTH'
      ],
      rows.map((row, i) => [
        row.incomplete === true ? `${row.name} (incomplete)` : row.name,
        String(row.images),
        String(row.tags),
        formatBytes(row.asPushed),
        formatBytes(row.onDisk),
        formatBytes(row.saved),
        limits[i] ?? '',
        formatBytes(row.today.fromClients + row.today.fromPeers),
        formatBytes(row.today.toClients + row.today.toPeers),
        formatBytes(row.month.fromClients + row.month.fromPeers),
        formatBytes(row.month.toClients + row.month.toPeers)
      ]),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
      screen
    )
  if (domains.length > 0) {
    const limits = domains.map((each) =>
      each.limit === undefined ? '' : `${each.percent} % of ${formatBytes(each.limit)}`
    )
    lines.push('', ...table('DOMAIN', domains, limits))
  }
  if (repositories.length > 0) lines.push('', ...table('REPOSITORY', repositories, []))
  if (more) lines.push('… and more')
  if (domains.length + repositories.length > 0 && store.month.toPeers > 0)
    lines.push(
      '',
      'what goes to peers is in the sums at the top alone: they ask for blocks by CID, whatever tree has them'
    )
  if ([...domains, ...repositories].some(({ incomplete }) => incomplete === true))
    lines.push(
      '',
      'incomplete: part of it is elsewhere or damaged (seaway verify tells), and what that part names is not counted'
    )
  if (warnings.length > 0)
    lines.push('', ...warnings.map((warning) => `${screen.paint('warning', 'yellow')}: ${warning}`))
  return lines
}

function going(traffic: Row['today']): string {
  const { fromClients, toClients, fromPeers, toPeers } = traffic
  return (
    `${formatBytes(fromClients)} from clients, ${formatBytes(toClients)} to clients, ` +
    `${formatBytes(fromPeers)} from peers, ${formatBytes(toPeers)} to peers`
  )
}
