import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { RegistryError, reason } from '../oci/errors.ts'

/** Where Docker looks for the authorities of a registry, by its host and port. */
const DOCKER_CERTS = '/etc/docker/certs.d'

/** Certificates in PEM form out of a file. @throws {RegistryError} REQUEST_INVALID */
export function certificates(file: string): string {
  try {
    const text = readFileSync(file, 'utf8')
    if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new Error('it holds no certificate in PEM')
    return text
  } catch (error) {
    throw new RegistryError(
      'REQUEST_INVALID',
      `the certificates in ${file} cannot be used: ${reason(error)}`,
      { cause: error }
    )
  }
}

/**
 * The authorities that are trusted, beside the well-known ones, for a server that a user names: those of a file, and those
 * that Docker trusts for it.
 *
 * @param file of the setting; nothing for none
 * @see https://docs.docker.com/engine/security/certificates/
 * @throws {RegistryError} REQUEST_INVALID for a file that can't be used
 */
export function authoritiesOf(
  { host, protocol }: URL,
  file: string | undefined,
  folder = DOCKER_CERTS
): string | undefined {
  if (protocol !== 'https:') return undefined
  const own = join(folder, host)
  let names: string[] = []
  try {
    names = readdirSync(own).filter((name) => name.endsWith('.crt'))
  } catch {} // most have none
  const files = [...(file === undefined ? [] : [file]), ...names.sort().map((name) => join(own, name))]
  return files.length === 0 ? undefined : files.map(certificates).join('\n')
}
