import { ConfigError } from '../config.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Inspection } from '../registry/index.ts'
import type { InspectedBlob, InspectedPlatform } from '../registry/look-inspect.ts'
import { createColumns } from './columns.ts'
import type { Command, CommandContext } from './command.ts'
import { imageText } from './images-list.ts'
import { IN, imageOf, look, sourceOf } from './look.ts'
import { cut, printable } from './screen.ts'
import { formatAge, formatBytes, formatJson, shortDigest } from './terminal.ts'

/** How much of what made a layer is shown. */
const STEP = 60

/** How many referrers are shown. */
const REFERRERS = 20

/** `seaway inspect IMAGE` */
export const inspect: Command = {
  name: 'inspect',
  arguments: '<image>',
  summary: 'shows an image: platforms, config, layers with their CIDs, what refers to it, and who has it',
  examples: [
    ['seaway inspect example.com/app:1', 'as a pull would find it'],
    ['seaway inspect --in example.com app', 'what the domain publishes; latest if no tag is said'],
    ['seaway inspect app:1 --platform linux/arm64', 'one platform of several'],
    ['seaway inspect https://registry.example/app@sha256:<hex> --json', 'of another registry, for programs'],
    ['seaway inspect app:1 --raw', 'the manifest, byte for byte']
  ],
  json: true,
  options: [
    IN,
    { flags: '--platform <os/arch>', about: 'only this platform' },
    { flags: '--full', about: 'whole digests, and all of what made the layers' },
    { flags: '--raw', about: 'only the manifest as it is; with --platform, the one of that platform' }
  ],
  async run(context, [text = ''], { in: where, platform, raw, full, json }) {
    if (raw === true && json === true) throw new ConfigError('--raw and --json exclude each other')
    const { source, repository, reference } = imageOf(text, sourceOf(where))
    const query = { repository, reference, ...(typeof platform === 'string' && { platform }) }
    const found = await look(context, [source], async (looking) => {
      const image = await looking.inspect(source, query)
      const [one] = image.platforms
      if (raw !== true || query.platform === undefined || one === undefined || one.digest === image.digest)
        return image
      return looking.inspect(source, { repository, reference: { kind: 'digest', digest: one.digest } })
    })
    if (raw === true) {
      context.write(Buffer.from(found.manifest, 'base64'))
      return
    }
    const image = imageText(source, found)
    if (json === true) {
      const { manifest, ...rest } = found
      context.print(
        formatJson({ image, ...rest, manifest: JSON.parse(Buffer.from(manifest, 'base64').toString()) })
      )
    } else show(context, image, found, full === true)
    const problem = found.platforms.find((one) => one.problem !== undefined)
    if (problem !== undefined)
      throw new RegistryError(
        'UNAVAILABLE',
        `${image} could not be read in full: ${problem.platform}: ${printable(problem.problem ?? '')}`
      )
  }
}

function show(context: CommandContext, image: string, found: Inspection, full: boolean): void {
  const { print, screen } = context
  const field = (name: string, value: string | undefined) => {
    if (value !== undefined && value !== '') print(`${name.padEnd(11)} ${printable(value)}`)
  }
  const total = new Map(
    found.platforms.flatMap(({ config, layers }) =>
      [...(config ? [config] : []), ...layers].map((blob) => [blob.digest, blob.size])
    )
  )
  print(screen.paint(printable(image), 'bold'))
  field('digest', found.digest)
  field('cid', found.cid)
  field('type', found.mediaType)
  field('artifact', found.artifactType)
  field('subject', found.subject)
  field('size', formatBytes([...total.values()].reduce((sum, size) => sum + size, 0)))
  field(
    'platforms',
    found.platforms
      .map(({ platform }) => platform)
      .filter(Boolean)
      .join(', ')
  )
  field('found in', found.source)
  field('root', found.root)
  for (const { address, from, connected } of found.providers)
    field(
      'provider',
      `${address} (${from}${connected === undefined ? '' : connected ? ', connected' : ', not connected'})`
    )
  for (const { digest, artifactType, mediaType } of found.referrers?.slice(0, REFERRERS) ?? [])
    field('referrer', `${full ? digest : shortDigest(digest)}  ${artifactType ?? mediaType}`)
  const more = (found.referrers?.length ?? 0) - REFERRERS
  if (more > 0) field('referrer', `… and ${more} more (--json)`)
  for (const [key, value] of Object.entries(found.annotations)) field('annotation', `${key}=${value}`)
  for (const platform of found.platforms) showPlatform(context, platform, { whole: found.digest, full })
}

function showPlatform(
  context: CommandContext,
  one: InspectedPlatform,
  { whole, full }: { whole: string; full: boolean }
): void {
  const { print, screen } = context
  const { about, config, layers, problem } = one
  print('')
  const name = one.platform === '' ? 'content' : one.platform
  print(
    `${screen.paint(printable(name), 'bold')}  ${one.digest === whole ? '' : `${one.digest}  `}${one.layers.length === 0 && one.config === undefined ? 'not here' : formatBytes(one.size)}`
  )
  if (problem !== undefined) print(`  ${screen.paint('!', 'red')} ${printable(problem)}`)
  const field = (field: string, value: string | undefined) => {
    if (value !== undefined && value !== '') print(`  ${field.padEnd(10)} ${printable(value)}`)
  }
  const at = about?.created === undefined ? '' : formatAge(Date.parse(about.created), Date.now())
  field('created', about?.created && `${about.created}${at === '' ? '' : ` (${at})`}`)
  field('author', about?.author)
  field('user', about?.user)
  field('workdir', about?.workingDir)
  field('entrypoint', words(about?.entrypoint))
  field('cmd', words(about?.cmd))
  field('ports', about?.ports.join(', '))
  field('volumes', about?.volumes.join(', '))
  for (const env of about?.env ?? []) field('env', env)
  for (const [key, value] of Object.entries(about?.labels ?? {})) field('label', `${key}=${value}`)
  const table = createColumns(
    [
      { head: '  PART' },
      { head: 'SIZE', right: true },
      { head: 'DIGEST' },
      { head: 'CID' },
      { head: 'HERE', paint: (cell) => (cell === 'no' ? 'yellow' : undefined) },
      { head: 'MADE BY' }
    ],
    context
  )
  const rows = [
    ...(config === undefined ? [] : [rowOf('config', config, full)]),
    ...layers.map((layer, i) => rowOf(`layer ${i + 1}`, layer, full))
  ]
  if (rows.length > 0) table.rows(rows)
}

function rowOf(part: string, { size, digest, cid, here, step }: InspectedBlob, full: boolean): string[] {
  const made = printable(step ?? '')
  return [
    `  ${part}`,
    formatBytes(size),
    full ? digest : shortDigest(digest),
    cid ?? '-',
    here === undefined ? '-' : here ? 'yes' : 'no',
    full ? made : cut(made, STEP)
  ]
}

/** A command as a shell would be told it. */
function words(parts: readonly string[] | undefined): string | undefined {
  return parts?.map((part) => (/^[\w@%+=:,./-]+$/.test(part) ? part : JSON.stringify(part))).join(' ')
}
