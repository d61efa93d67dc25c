import type { CID } from 'multiformats/cid'
import type { Config } from './config.ts'
import { formatRecords } from './discovery/index.ts'
import { displayName, looksLikeDomain } from './oci/reference.ts'
import type { AutoOutcome } from './registry/index.ts'

/** What `serve` prints when it is ready. */
export function readyText(
  { url, prefix }: { url: string; prefix: string },
  addresses: readonly string[],
  config: Config
): string {
  return [
    `Seaway listens on ${url}`,
    '',
    `  push   docker push ${prefix}/example.com/app:1     (your domain; or ${prefix}/app:1)`,
    `  pull   docker pull ${prefix}/example.com/app:1     (any domain that publishes a registry)`,
    `  data   ${config.data}`,
    ...addresses.map((address, i) => `${i === 0 ? '  peers  ' : '         '}${address}`),
    ''
  ].join('\n')
}

/** What `serve` prints after a push: the root, and for a real domain the two records that publish it. */
export function rootText(domain: string, root: CID, addresses: readonly string[]): string {
  const lines = [`${domain} is now at root ${root}`, '']
  if (!looksLikeDomain(domain) || domain === 'localhost') {
    lines.push(`  anyone connected to this gateway can pull ${displayName('ipfs', `${root}/<image>`)}`, '')
    return lines.join('\n')
  }
  const records = formatRecords({ domain, root, addresses })
  lines.push('  publish it with these TXT records:', '')
  for (const record of records) lines.push(`    ${record.plain}`)
  lines.push('', '  the same as lines of a zone file:', '')
  for (const record of records) lines.push(`    ${record.zone}`)
  lines.push('')
  return lines.join('\n')
}

/** What `serve` prints when it has published a domain by itself, or could not. */
export function publishedText(outcome: AutoOutcome): string {
  if ('report' in outcome) {
    const { domain, report } = outcome
    const { root, records, via } = report
    if (report.outcome === 'published')
      return `${domain} is published at root ${root}${via === undefined ? '' : ` by ${via}`}\n`
    const lines = records.map((record) => `    ${record.plain}`)
    return [`${domain} needs these TXT records:`, '', ...lines, ''].join('\n')
  }
  const { domain, error, retryMs } = outcome
  const next =
    retryMs === undefined
      ? 'not tried again before its next push'
      : `tried again in ${Math.ceil(retryMs / 1000)} s`
  return `${domain} could not be published (${next}): ${error}\n`
}
