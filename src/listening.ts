import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { request as secureRequest } from 'node:https'
import { isIP } from 'node:net'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { type Config, hasTls } from './config.ts'
import type { Log } from './log.ts'
import { RegistryError, reason } from './oci/errors.ts'
import { acmeIdentity, fileIdentity, type Identity, namesOf, validityOf } from './tls/index.ts'

/** Where something listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** A certificate that ends sooner than this should have been replaced, in milliseconds. */
const SOON = 7 * 86_400_000

/**
 * Who the gateway is to its clients, as the settings have it; nobody without TLS.
 *
 * @throws {RegistryError} UNAVAILABLE where certificate files can't be used
 */
export async function identityOf(config: Config, log: Log): Promise<Identity | undefined> {
  if (!hasTls(config)) return undefined
  if (config.tlsCert !== '') return fileIdentity({ cert: config.tlsCert, key: config.tlsKey, log })
  const ca =
    config.tlsAcmeCa === ''
      ? undefined
      : await readFile(config.tlsAcmeCa, 'utf8').catch((error: unknown) => {
          const message = `SEAWAY_TLS_ACME_CA is ${config.tlsAcmeCa}, which cannot be read: ${reason(error)}`
          throw new RegistryError('UNAVAILABLE', message, { cause: error })
        })
  return acmeIdentity({
    domains: config.tlsAcmeDomains,
    email: config.tlsAcmeEmail,
    directory: config.tlsAcmeDirectory,
    ca,
    folder: join(config.data, 'acme'),
    retryMs: config.tlsAcmeRetry,
    http: config.tlsPlainListen !== undefined,
    log
  })
}

const bracketed = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host)

/** Where clients on this machine reach a listener by an address that Docker takes plain HTTP from; nothing for others. */
export function nearHost({ host, port }: Address): string | undefined {
  if (host.startsWith('127.')) return `${host}:${port}`
  return host === '0.0.0.0' || host === '::' ? `127.0.0.1:${port}` : undefined
}

/** The URL at which something listens. */
export function urlOf({ host, port }: Address, identity: Identity | undefined): string {
  return `${identity === undefined ? 'http' : 'https'}://${bracketed(host)}:${port}`
}

/** How image names begin that lead there: with TLS by a name that the certificate is for. */
export function prefixOf(
  { host, port }: Address,
  config: Pick<Config, 'tlsAcmeDomains'>,
  identity: Identity | undefined
): string {
  const pair = identity?.pair
  const { dns, ip } = pair === undefined ? { dns: config.tlsAcmeDomains, ip: [''] } : namesOf(pair)
  const name = ip.includes(host) ? undefined : dns.find((each) => !each.startsWith('*'))
  if (identity === undefined || name === undefined) return `${bracketed(host)}:${port}`
  return port === 443 ? name : `${name}:${port}`
}

/**
 * Asks what listens there whether it is a registry, with the certificate that it should have.
 *
 * @throws Error when it isn't
 */
export async function checkRegistry(
  at: Address,
  identity: Identity | undefined,
  signal: AbortSignal
): Promise<void> {
  const anywhere = at.host === '0.0.0.0' ? '127.0.0.1' : at.host === '::' ? '::1' : at.host
  const pair = identity?.pair
  if (identity !== undefined && pair === undefined) return // said with the certificate
  const isOne = await new Promise<boolean>((resolve, reject) => {
    const target = { host: anywhere, port: at.port, path: '/v2/', signal }
    // It is reached by its address here, for which the certificate need not be; so it is compared itself.
    const asked =
      pair === undefined
        ? request(target)
        : secureRequest({ ...target, agent: false, rejectUnauthorized: false })
    asked.on('error', reject)
    asked.on('response', (answer) => {
      answer.resume()
      const shown = (answer.socket as Partial<TLSSocket>).getPeerX509Certificate?.()
      if (pair !== undefined && shown?.fingerprint256 !== pair.certificate.fingerprint256)
        reject(new Error(`what answers at ${bracketed(anywhere)}:${at.port} has another certificate`))
      else resolve(answer.headers['docker-distribution-api-version'] !== undefined)
    })
    asked.end()
  })
  if (!isOne) throw new Error(`what answers at ${bracketed(anywhere)}:${at.port} is no registry`)
}

/** What a doctor says of the certificate. */
export function certificateState(identity: Identity): {
  says: string
  wrong?: { why: string; remedy: string }
} {
  const { pair, trouble } = identity
  const remedy =
    'the log says more. For ACME, the domain must lead here on port 443 (or 80, with SEAWAY_TLS_PLAIN_LISTEN); for files, put a certificate with its key in their place'
  if (pair === undefined)
    return { says: 'without a certificate', wrong: { why: trouble ?? 'there is none', remedy } }
  const { to } = validityOf(pair)
  const names = [...namesOf(pair).dns, ...namesOf(pair).ip].join(', ')
  const says = `with a certificate for ${names} until ${new Date(to).toISOString().slice(0, 10)}`
  const left = to - Date.now()
  if (left > SOON && trouble === undefined) return { says }
  const ends = left > 0 ? `it ends in ${Math.floor(left / 86_400_000)} days` : 'it has expired'
  return {
    says,
    wrong: { why: [trouble, left > SOON ? undefined : ends].filter(Boolean).join('; '), remedy }
  }
}

/** Says what to do about an address that somebody else listens on. */
export function inUse(setting: string, value: string): (error: unknown) => never {
  return (error) => {
    if (!reason(error).includes('EADDRINUSE')) throw error
    throw new RegistryError(
      'UNAVAILABLE',
      `${value} is in use already: stop what listens there, or set ${setting} to something else`,
      {
        cause: error
      }
    )
  }
}
