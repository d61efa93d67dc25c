import { duration } from '../config/values.ts'
import { ConfigError } from '../config.ts'
import type { Collected } from '../registry/index.ts'
import type { Command } from './command.ts'
import type { Screen } from './screen.ts'
import { formatBytes, formatJson, formatTable } from './terminal.ts'

/** How many lines of what went are printed for people; `--json` has all. */
const LINES = 200

/** `seaway gc` */
export const gc: Command = {
  name: 'gc',
  arguments: '',
  summary: 'frees space: removes what no tag, kept root or pull needs any more, while the gateway serves',
  examples: [
    ['seaway gc --dry-run', 'lists what would go, and how many bytes'],
    ['seaway gc', 'removes it'],
    ['seaway gc --retention --dry-run', 'also by the rules of SEAWAY_RETENTION'],
    ['seaway gc --grace 0s', 'also what was pushed or used a moment ago']
  ],
  json: true,
  options: [
    { flags: '--dry-run', about: 'remove nothing, only say what would go' },
    { flags: '--retention', about: 'first remove the tags that SEAWAY_RETENTION does not keep' },
    { flags: '--grace <time>', about: 'how long unused content stays; as SEAWAY_GC_GRACE says if not given' }
  ],
  async run({ operate, print, screen }, _args, options) {
    const dryRun = options['dryRun'] === true
    const graceMs = typeof options['grace'] === 'string' ? timeOf(options['grace']) : undefined
    const report = await operate((operations, call) =>
      operations.gc(
        { dryRun, retention: options['retention'] === true, ...(graceMs !== undefined && { graceMs }) },
        call
      )
    )
    if (options.json === true) print(formatJson(report))
    else for (const line of textOf(report, screen)) print(line)
  }
}

function timeOf(text: string): number {
  try {
    return duration(text)
  } catch (error) {
    throw new ConfigError(`--grace is '${text}', but ${(error as Error).message}`)
  }
}

function textOf(
  { dryRun, tags, manifests, blobs, unlisted, freed, waiting, cachedBytes }: Collected,
  screen: Screen
): string[] {
  const rows = [
    ...tags.map(({ image, pushed }) => ['tag', image, '', `pushed ${pushed.slice(0, 16)}`]),
    ...manifests.map(({ domain, repository, digest, tags: schema }) => [
      'manifest',
      `${repository.startsWith(`${domain}/`) ? repository : `${domain}/${repository}`}@${digest}`,
      '',
      schema.join(', ')
    ]),
    ...blobs.map(({ digest, size, why }) => [
      why === 'cache' ? 'cached' : 'blob',
      digest,
      formatBytes(size),
      ''
    ])
  ]
  const hidden = Math.max(0, rows.length - LINES) + unlisted
  const shown =
    rows.length === 0 ? [] : formatTable(['WHAT', 'NAME', 'SIZE', ''], rows.slice(0, LINES), [2], screen)
  if (hidden > 0) shown.push(`and ${hidden} more`)
  const verb = dryRun ? 'would free' : 'freed'
  shown.push(
    `${verb} ${formatBytes(freed.bytes)}: ${freed.blobs} blobs, ${freed.rows} directory blocks and other rows` +
      (freed.files > 0 ? `, ${freed.files} files left by a crash` : '')
  )
  if (waiting.blobs > 0)
    shown.push(
      `${waiting.blobs} blobs (${formatBytes(waiting.bytes)}) stay for now: they were pushed or used within the grace window`
    )
  if (cachedBytes > 0) shown.push(`the cache holds ${formatBytes(cachedBytes)}`)
  return shown
}
