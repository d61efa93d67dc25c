import { publishers, retentionRule } from './publishing.ts'
import { row, type Setting } from './table.ts'
import { upstreams } from './upstreams.ts'
import { domainLimits, duration, list, oneOf, optional, plain, size, wholeNumber } from './values.ts'

/** Other registries, publishing, and what is kept. */
export const CONTENT: readonly Setting[] = [
  row(
    'pushBase',
    'published|empty',
    'published',
    "what a domain's first push here adds to: the root that the domain publishes, or nothing",
    oneOf('published', 'empty')
  ),
  row(
    'upstreams',
    'DOMAIN=URL… OPTION=VALUE…|off,…',
    '',
    'other registries that are pulled through, beside Docker Hub and the other well-known ones, and what is different of those (see "Other registries")',
    upstreams
  ),
  row(
    'upstreamAuth',
    'FILE',
    '',
    'a docker config.json with credentials of upstream registries, or the helpers that know them: whoever may pull here then pulls with them; none are used if not set',
    plain
  ),
  row(
    'defaultUpstream',
    'DOMAIN',
    '',
    "where names without a domain are looked for that aren't here, as docker asks a mirror for them: docker.io; nowhere if not set",
    plain
  ),
  row(
    'upstreamTtl',
    'TIME',
    '5m',
    'how long a tag of an upstream registry is served without asking there whether it has changed',
    duration
  ),
  row(
    'upstreamTimeout',
    'TIME',
    '10s',
    'how long an upstream registry may take to connect and answer, and be silent in the middle of an answer',
    duration
  ),
  row(
    'prefetch',
    'IMAGE,…',
    '',
    'images that are brought here, and kept up to date, without being asked for: docker.io/alpine:3',
    list(plain)
  ),
  row(
    'prefetchPlatforms',
    'OS/ARCH,…|all',
    '',
    'for which platforms; that of this machine if not set',
    list(plain)
  ),
  row('prefetchInterval', 'TIME', '1h', 'how often that is done', duration),
  row(
    'publishers',
    'DOMAIN=WAY?OPTION=VALUE&…,…',
    '',
    'domains that are published by themselves after a push, and how: rfc2136, cloudflare, exec, or none with ipns=yes',
    publishers
  ),
  row(
    'publishAfter',
    'TIME',
    '5s',
    'how long a domain must be quiet before its new root is published',
    duration
  ),
  row('publishTimeout', 'TIME', '60s', 'deadline of a command that publishes', duration),
  row(
    'ipnsLifetime',
    'TIME',
    '48h',
    'how long a signed IPNS record holds without this gateway; it signs a new one when half of that has passed',
    duration
  ),
  row(
    'keepRoots',
    'NUMBER',
    '5',
    'how many published roots of a domain are kept with all that they hold, the current one among them; roots that move no tag are not counted',
    wholeNumber
  ),
  row(
    'gcGrace',
    'TIME',
    '1h',
    'how long content that nothing names any more stays after it was pushed or used last',
    duration
  ),
  row(
    'gcInterval',
    'TIME',
    '',
    'how often space is freed, and retention applied, without being asked; never if not set',
    optional(duration)
  ),
  row(
    'cacheLimit',
    'SIZE',
    '',
    'how much of what was pulled from elsewhere is kept: what was used least lately goes first; all if not set',
    optional(size)
  ),
  row(
    'retention',
    'GLOB PART…,…',
    '',
    'which tags stay, by repository: last=NUMBER, newer=TIME, match=GLOB; the rest go at gc --retention and every SEAWAY_GC_INTERVAL. The first rule that is for a repository counts',
    list(retentionRule)
  ),
  row('diskReserve', 'SIZE', '64MB', 'disk space that is never used', size),
  row('uploadExpiry', 'TIME', '24h', 'when an upload on which nothing happens is dropped', duration),
  row(
    'checkAge',
    'TIME',
    '1h',
    'how long content that was read and checked is served without being checked again while its file stays as it is; 0s checks it at every read',
    duration
  ),
  row(
    'storeLimit',
    'SIZE',
    '',
    'bytes of content that the store may hold: a push that does not fit is refused; no limit if not set',
    optional(size)
  ),
  row(
    'domainLimits',
    'DOMAIN=SIZE,…',
    '',
    'bytes of content that a domain may hold, each blob once; * for every domain that is not named',
    domainLimits
  )
]
