import { row, type Setting } from './table.ts'
import {
  acmeDomain,
  atLeastMinute,
  duration,
  hostPort,
  httpUrl,
  list,
  oneOf,
  optional,
  plain,
  yesNo
} from './values.ts'

/** Users, tokens and TLS. */
export const ACCESS: readonly Setting[] = [
  row('allowAnonymousPush', 'yes|no', 'no', 'let anyone push, even when listening beyond loopback', yesNo),
  row(
    'authUsers',
    'FILE',
    '',
    "users and their passwords (htpasswd with bcrypt; see 'seaway login-user'); <data>/auth/users where that is there. Without it and SEAWAY_AUTH_RULES nobody is asked who they are",
    optional(plain)
  ),
  row(
    'authRules',
    'FILE',
    '',
    'who may do what where, as YAML; if not set, every user may do everything',
    optional(plain)
  ),
  row(
    'authAnonymousPull',
    'yes|no',
    'no',
    'where users are asked for: let anyone pull everything without logging in',
    yesNo
  ),
  row(
    'authScheme',
    'bearer|basic',
    'bearer',
    'how clients are asked to log in: by tokens, or by a password with each request, with which docker cannot pull without one. Both are taken',
    oneOf('bearer', 'basic')
  ),
  row(
    'authUrl',
    'URL',
    '',
    'where clients reach the token endpoint, as https://registry.example.com; where they came if not set',
    optional((text) => httpUrl(text).replace(/\/+$/, ''))
  ),
  row(
    'authService',
    'NAME',
    'seaway',
    'what tokens of this gateway are called for: their audience',
    (text) => {
      if (!/^[\w.:-]{1,100}$/.test(text)) throw new Error('letters, digits and . : _ - are needed')
      return text
    }
  ),
  row(
    'authTokenLifetime',
    'TIME',
    '15m',
    'how long a token that a client gets for its requests holds',
    atLeastMinute
  ),
  row(
    'authRefreshLifetime',
    'TIME',
    '90d',
    'how long a client that keeps no password stays logged in',
    atLeastMinute
  ),
  row('authKeyRotation', 'TIME', '30d', 'how often a new key begins to sign tokens', atLeastMinute),
  row('authIssuerTimeout', 'TIME', '5s', 'deadline of a request for the keys of an issuer', duration),
  row(
    'auditLog',
    'FILE|stderr|none',
    'none',
    'where it is written who pushed, deleted, published, logged in or was refused: one JSON object a line',
    plain
  ),
  row(
    'verifySignature',
    'FILE',
    '',
    'which images must be signed, and by whom (cosign, notation), for pulling them or for giving them a tag, as YAML. Read again when it changes',
    optional(plain)
  ),
  row('hosts', 'DOMAIN,…', '', 'domains that clients use as the host name of this gateway', list(plain)),
  row(
    'tlsCert',
    'FILE',
    '',
    'certificate in PEM form, followed by those between it and its authority: the registry speaks HTTPS with it. Read again when it changes',
    plain
  ),
  row('tlsKey', 'FILE', '', 'private key of SEAWAY_TLS_CERT in PEM form', plain),
  row(
    'tlsAcmeDomains',
    'DOMAIN,…',
    '',
    'names of this gateway, for which a certificate is had from an authority by ACME and renewed; setting it agrees to the terms of the authority',
    list(acmeDomain)
  ),
  row('tlsAcmeEmail', 'ADDRESS', '', 'where the authority may write to', plain),
  row(
    'tlsAcmeDirectory',
    'URL',
    'https://acme-v02.api.letsencrypt.org/directory',
    "the authority's ACME directory",
    httpUrl
  ),
  row(
    'tlsAcmeCa',
    'FILE',
    '',
    "certificates to trust for the ACME directory, in PEM form; the system's if not set",
    plain
  ),
  row(
    'tlsAcmeRetry',
    'TIME',
    '1m',
    'how long after a failure a certificate is asked for again; twice as long after each further one, up to 6h',
    duration
  ),
  row(
    'tlsPlainListen',
    'HOST:PORT',
    '',
    'with TLS: a port without it that sends clients to https:// and answers the authority (ACME HTTP-01, which needs port 80)',
    (text) => (text === '' ? undefined : hostPort(text))
  ),
  row(
    'tlsHsts',
    'TIME',
    '365d',
    'with TLS: how long clients that know this gateway by a domain are told to use https:// only; 0s does not tell',
    duration
  ),
  row('seedTls', 'yes|no', 'no', 'whether SEAWAY_SEED_LISTEN speaks HTTPS, with the same certificate', yesNo)
]
