import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes
} from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { writeWhole } from '../store/whole-file.ts'

/** A key that signs tokens of our own. */
export interface SigningKey {
  readonly id: string
  readonly private: KeyObject
  readonly public: KeyObject
  /** Epoch ms. */
  readonly created: number
}

/** The keys that sign tokens of our own. */
export interface SigningKeys {
  /** The key to sign with; a new one when the last has been used long enough. */
  current(): Promise<SigningKey>
  /** The key of this id, as long as anything that it signed may hold. */
  find(id: string): SigningKey | undefined
}

/** The signature algorithm: Ed25519. */
export const ALGORITHM = 'EdDSA'

/** How soon another key is made again after that has failed, in milliseconds. */
const RETRY = 60_000

/** By how much a clock may have been ahead when a key was made, in milliseconds. */
const AHEAD = 3_600_000

/** What a key file is called: when it was made, so that the order is known, and its id. */
const FILE = /^(\d{13})-([0-9a-f]{16})\.pem$/

/**
 * Opens the keys in `folder`, and makes one if there is none that may still sign. One signs for `rotateMs` and goes
 * when what it signed last has expired, `keepMs` later. Only one process uses the folder: the one that owns the data.
 */
export async function openSigningKeys(options: {
  folder: string
  rotateMs: number
  keepMs: number
  now?: () => number
  log: Log
}): Promise<SigningKeys> {
  const { folder, rotateMs, keepMs, log, now = Date.now } = options
  const keys = new Map<string, SigningKey>()
  let rotating: Promise<SigningKey> | undefined
  let retryAt = 0
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const name of (await readdir(folder)).sort()) {
    const [, created, id] = FILE.exec(name) ?? []
    if (id === undefined) continue
    const path = join(folder, name)
    try {
      const secret = createPrivateKey(await readFile(path))
      if (secret.asymmetricKeyType !== 'ed25519') throw new Error('it is no Ed25519 key')
      keys.set(id, { id, private: secret, public: createPublicKey(secret), created: Number(created) })
    } catch (error) {
      log.error({ path, cause: reason(error) }, 'a signing key cannot be read: what it signed is refused')
    }
  }

  /** The last one; one of a time to come was made while the clock was wrong, and would never be replaced. */
  const newest = () => [...keys.values()].findLast(({ created }) => created <= now() + AHEAD)

  /** Removes keys of which nothing holds any more; the last but one may have signed until just now. */
  async function prune(last: SigningKey | undefined): Promise<void> {
    for (const key of keys.values()) {
      const { id, created } = key
      if (key === last || created + rotateMs + keepMs > now()) continue
      keys.delete(id)
      await rm(join(folder, `${created}-${id}.pem`), { force: true })
    }
  }

  async function rotate(): Promise<SigningKey> {
    const id = randomBytes(8).toString('hex')
    const pair = generateKeyPairSync('ed25519')
    const key = { id, private: pair.privateKey, public: pair.publicKey, created: now() }
    const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' })
    await writeWhole(join(folder, `${key.created}-${id}.pem`), pem)
    const last = newest()
    keys.set(id, key)
    await prune(last).catch((error: unknown) =>
      log.warn({ folder, cause: reason(error) }, 'a signing key that is used no more cannot be removed')
    )
    log.info({ key: id }, 'a new key signs tokens from now on')
    return key
  }

  const current = async (): Promise<SigningKey> => {
    const key = newest()
    if (key !== undefined && (key.created + rotateMs > now() || now() < retryAt)) return key
    rotating ??= rotate()
      .catch((error: unknown) => {
        if (key === undefined) throw error
        // a full disk is no reason to turn clients away
        retryAt = now() + RETRY
        log.error({ folder, cause: reason(error) }, 'no new signing key can be kept: the last one goes on')
        return key
      })
      .finally(() => {
        rotating = undefined
      })
    return rotating
  }
  await current()
  return { current, find: (id) => keys.get(id) }
}
