import { ConfigError } from '../config.ts'
import { parseDomain } from '../oci/reference.ts'
import type { SyncReport } from '../registry/index.ts'
import type { Command } from './command.ts'
import type { Screen } from './screen.ts'
import { formatJson, formatTable } from './terminal.ts'

/** `seaway sync DOMAIN` */
export const sync: Command = {
  name: 'sync',
  arguments: '<domain>',
  summary: 'merges what others published for a domain into the tree here, by tag',
  examples: [
    ['seaway sync example.com', 'what one side changed counts; what both changed is listed and refused'],
    ['seaway sync example.com --theirs', 'where both changed a tag, the published one counts'],
    ['seaway sync example.com --dry-run', 'says what would be'],
    ['seaway sync example.com && seaway publish example.com', 'after another publisher was first']
  ],
  json: true,
  options: [
    { flags: '--ours', about: 'where both sides changed a tag, the one here counts' },
    { flags: '--theirs', about: 'where both sides changed a tag, the published one counts' },
    { flags: '--dry-run', about: 'change nothing, only say what would be' }
  ],
  async run({ operate, print, screen }, [domain = ''], options) {
    const { ours, theirs, dryRun, json } = options
    if (ours === true && theirs === true) throw new ConfigError('--ours and --theirs exclude each other')
    const request = {
      domain: parseDomain(domain),
      ...(ours === true ? { prefer: 'ours' as const } : {}),
      ...(theirs === true ? { prefer: 'theirs' as const } : {}),
      ...(dryRun === true ? { dryRun: true } : {})
    }
    const report = await operate((operations, call) => operations.sync(request, call))
    if (json === true) print(formatJson(report))
    else for (const line of textOf(report, screen)) print(line)
  }
}

function textOf(report: SyncReport, screen: Screen): string[] {
  const { domain, root, published, outcome, prefer, taken, kept, conflicts } = report
  if (outcome === 'current')
    return [`${domain} is up to date: the tree here (${root}) holds what is published (${published})`]
  const decided =
    prefer === 'ours' ? 'here' : prefer === 'theirs' ? 'published' : 'open: say --ours or --theirs'
  const rows = [
    ...taken.map((tag) => [
      `${tag.repository}:${tag.tag}`,
      tag.theirs === undefined ? 'removed' : 'taken',
      tag.theirs ?? tag.ours ?? ''
    ]),
    ...kept.map((tag) => [
      `${tag.repository}:${tag.tag}`,
      tag.ours === undefined ? 'stays removed' : 'kept',
      tag.ours ?? tag.base ?? ''
    ]),
    ...conflicts.map((tag) => [
      `${tag.repository}:${tag.tag}`,
      `changed by both (${decided})`,
      `here ${tag.ours ?? 'removed'}, published ${tag.theirs ?? 'removed'}`
    ])
  ]
  const head =
    outcome === 'dry'
      ? `${domain}: what is published (${published}) would be merged into the tree here (${root})`
      : `${domain} is now at root ${root}, merged with what is published (${published})`
  return rows.length === 0 ? [head] : [head, '', ...formatTable(['TAG', '', 'MANIFEST'], rows, [], screen)]
}
