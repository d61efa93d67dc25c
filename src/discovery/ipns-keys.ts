import { createPrivateKey } from 'node:crypto'
import { chmod, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import {
  generateKeyPair,
  generateKeyPairFromSeed,
  privateKeyFromProtobuf,
  privateKeyToProtobuf
} from '@libp2p/crypto/keys'
import type { Ed25519PrivateKey } from '@libp2p/interface'
import { RegistryError, reason } from '../oci/errors.ts'
import { writeWhole } from '../store/whole-file.ts'
import { nameOfKey } from './ipns-record.ts'

/** A key that names a domain's records. */
export interface DomainKey {
  readonly domain: string
  readonly key: Ed25519PrivateKey
  /** It was replaced: what it names leads to the name of the newer one. */
  readonly retired: boolean
}

/**
 * The keys of domains, each a file of the data folder that only its owner can read (mode 0600), in the form in
 * which Kubo exports keys. A key never leaves it but by {@link IpnsKeys.export}.
 */
export interface IpnsKeys {
  get(domain: string): Promise<DomainKey | undefined>
  /** All keys, retired ones too. */
  list(): Promise<DomainKey[]>
  /** @throws {RegistryError} DENIED when the domain has one */
  create(domain: string): Promise<DomainKey>
  /** A new key in place of the old one, which stays as a retired one. @throws {RegistryError} NAME_UNKNOWN without an old one */
  rotate(domain: string): Promise<{ old: DomainKey; now: DomainKey }>
  /**
   * Takes a key in: libp2p's protobuf, as `ipfs key export` writes it, or PKCS#8 in PEM.
   *
   * @throws {RegistryError} REQUEST_INVALID for what is no Ed25519 key, DENIED when the domain has another one
   */
  import(domain: string, bytes: Uint8Array): Promise<DomainKey>
  /** @throws {RegistryError} NAME_UNKNOWN */
  export(domain: string, format: 'libp2p' | 'pem'): Promise<Uint8Array>
}

const FILE = /^([a-z0-9._-]+?)(?:~(\d+))?\.key$/

/** @param folder made when the first key is */
export function createIpnsKeys(folder: string): IpnsKeys {
  const path = (domain: string, retired?: number): string =>
    join(folder, `${domain}${retired === undefined ? '' : `~${retired}`}.key`)

  async function read(file: string): Promise<Ed25519PrivateKey | undefined> {
    let bytes: Uint8Array
    try {
      bytes = await readFile(file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw new RegistryError('UNAVAILABLE', `the key ${file} cannot be read: ${reason(error)}`, {
        cause: error
      })
    }
    const key = privateKeyFromProtobuf(bytes)
    if (key.type !== 'Ed25519') throw new RegistryError('UNAVAILABLE', `the key ${file} is no Ed25519 key`)
    return key
  }

  async function get(domain: string): Promise<DomainKey | undefined> {
    const key = await read(path(domain))
    return key && { domain, key, retired: false }
  }

  /** On disk before it names anything: a name whose key is lost can never be changed again. */
  async function write(domain: string, key: Ed25519PrivateKey): Promise<DomainKey> {
    await writeWhole(path(domain), privateKeyToProtobuf(key))
    return { domain, key, retired: false }
  }

  async function files(): Promise<string[]> {
    try {
      return await readdir(folder)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  const missing = (domain: string): RegistryError =>
    new RegistryError(
      'NAME_UNKNOWN',
      `${domain} has no IPNS key here: make one with 'seaway key create ${domain}'`
    )

  return {
    get,
    async list() {
      const found: DomainKey[] = []
      for (const file of (await files()).toSorted()) {
        const [, domain, retired] = FILE.exec(file) ?? []
        const key = domain === undefined ? undefined : await read(join(folder, file))
        if (domain !== undefined && key !== undefined)
          found.push({ domain, key, retired: retired !== undefined })
      }
      return found
    },
    async create(domain) {
      if ((await get(domain)) !== undefined)
        throw new RegistryError(
          'DENIED',
          `${domain} has an IPNS key already: 'seaway key rotate ${domain}' replaces it`
        )
      return write(domain, await generateKeyPair('Ed25519'))
    },
    async rotate(domain) {
      const old = await get(domain)
      if (old === undefined) throw missing(domain)
      const numbers = (await files()).map((file) =>
        file.startsWith(`${domain}~`) ? Number(FILE.exec(file)?.[2] ?? 0) : 0
      )
      const retired = path(domain, Math.max(0, ...numbers) + 1)
      const key = await generateKeyPair('Ed25519')
      await rename(path(domain), retired)
      await chmod(retired, 0o600)
      return { old: { ...old, retired: true }, now: await write(domain, key) }
    },
    async import(domain, bytes) {
      const key = await parse(bytes)
      const present = await get(domain)
      if (present !== undefined && !present.key.equals(key))
        throw new RegistryError(
          'DENIED',
          `${domain} has another IPNS key here already, ${nameOfKey(present.key).text}: 'seaway key export' it and move its file away first`
        )
      return write(domain, key)
    },
    async export(domain, format) {
      const found = await get(domain)
      if (found === undefined) throw missing(domain)
      if (format === 'libp2p') return privateKeyToProtobuf(found.key)
      const der = Buffer.concat([PKCS8, found.key.raw.subarray(0, 32)])
      const pem = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({
        format: 'pem',
        type: 'pkcs8'
      })
      return Buffer.from(pem)
    }
  }
}

/** What stands before the seed in an Ed25519 key's PKCS#8. @see https://www.rfc-editor.org/rfc/rfc8410#section-7 */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

async function parse(bytes: Uint8Array): Promise<Ed25519PrivateKey> {
  const invalid = (why: string, cause?: unknown): RegistryError =>
    new RegistryError(
      'REQUEST_INVALID',
      `this is no Ed25519 key that can be read (${why}): a libp2p key or PKCS#8 in PEM is needed`,
      { cause }
    )
  try {
    const text = Buffer.from(bytes).toString('latin1')
    if (text.includes('-----BEGIN')) {
      const der = createPrivateKey(text).export({ format: 'der', type: 'pkcs8' })
      if (!der.subarray(0, PKCS8.length).equals(PKCS8)) throw new Error('it is of another kind')
      return await generateKeyPairFromSeed('Ed25519', der.subarray(PKCS8.length))
    }
    const key = privateKeyFromProtobuf(bytes)
    if (key.type !== 'Ed25519') throw new Error(`it is of the kind ${key.type}`)
    return key
  } catch (error) {
    throw invalid(reason(error), error)
  }
}
