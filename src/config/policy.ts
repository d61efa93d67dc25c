import { row, type Setting } from './table.ts'
import { cidr, count, domainGlob, limit, list, optional, rate, yesNo } from './values.ts'

/** Whom it may reach, and how much clients get. */
export const POLICY: readonly Setting[] = [
  row(
    'allowPrivatePeers',
    'yes|no',
    'no',
    'dial private, loopback and link-local addresses even when listening beyond loopback',
    yesNo
  ),
  row(
    'allowDial',
    'CIDR,…',
    '',
    "addresses that may be dialled though they aren't public, when listening beyond loopback: 10.1.0.0/16, fd00:1::/32",
    list(cidr)
  ),
  row(
    'denyDial',
    'CIDR,…',
    '',
    'addresses that are never dialled at the word of a record, a peer or another registry',
    list(cidr)
  ),
  row(
    'resolveAllow',
    'GLOB,…',
    '',
    'domains that may be looked up in DNS: example.com, *.example.com; all if not set',
    list(domainGlob)
  ),
  row('resolveDeny', 'GLOB,…', '', 'domains that may not be, whatever is allowed', list(domainGlob)),
  row(
    'pushAllow',
    'GLOB,…',
    '',
    "domains that may be pushed to ('local' for names without one); all if not set",
    list(domainGlob)
  ),
  row('pushDeny', 'GLOB,…', '', 'domains that may not be, whatever is allowed', list(domainGlob)),
  row(
    'trustedProxies',
    'CIDR,…',
    '',
    'reverse proxies whose X-Forwarded-For, -Proto and -Host, or Forwarded, are believed; from anybody else they are ignored',
    list(cidr)
  ),
  row('maxConnections', 'NUMBER', '1024', 'connections of clients at a time', count),
  row(
    'maxConnectionsPerAddress',
    'NUMBER',
    '256',
    'connections that one client address (of IPv6: one /64) can have open; trusted proxies are not held to it',
    count
  ),
  row(
    'requestRate',
    'NUMBER',
    '',
    "requests a second that one client address may make for longer than ten seconds; 0 for any number. 100 if not set and listening beyond loopback; peers' requests for blocks have SEAWAY_MAX_PEER_REQUESTS instead",
    limit
  ),
  row('maxUploads', 'NUMBER', '128', 'request bodies that are taken at a time', count),
  row(
    'maxUploadsPerAddress',
    'NUMBER',
    '64',
    'request bodies that are taken at a time of one client address',
    count
  ),
  row(
    'clientRate',
    'SIZE',
    '',
    'bytes a second of layers that one client address gets, and likewise sends; no limit if not set',
    optional(rate)
  ),
  row(
    'clientsRate',
    'SIZE',
    '',
    'bytes a second of layers that all clients get together, and likewise send; no limit if not set',
    optional(rate)
  )
]
