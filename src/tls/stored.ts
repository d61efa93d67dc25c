import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { RegistryError, reason } from '../oci/errors.ts'
import { syncFolder } from '../store/files.ts'
import { type KeyPair, readPair } from './pair.ts'

/** What is kept of one authority: files that only their owner can read (mode 0600). */
export interface AcmeFolder {
  /** The account's key in PEM form; made and kept the first time. */
  accountKey(make: () => Promise<string>): Promise<string>
  /** The pair that was kept last; none where there is none, or it is damaged. */
  pair(): Promise<KeyPair | undefined>
  keep(pair: { cert: string; key: string }): Promise<void>
}

/**
 * The folder of an authority, named after its host and its whole directory URL: a test authority and the real one
 * are not taken for each other.
 *
 * @param folder of all authorities; made when the first thing is kept
 */
export function acmeFolder(folder: string, directory: string): AcmeFolder {
  const mark = createHash('sha256').update(directory).digest('hex').slice(0, 8)
  const own = join(folder, `${new URL(directory).hostname}-${mark}`)
  const account = join(own, 'account.key')
  // One file for both: they are replaced together or not at all.
  const both = join(own, 'certificate.pem')

  async function read(path: string): Promise<string | undefined> {
    try {
      return await readFile(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw new RegistryError('UNAVAILABLE', `${path} cannot be read: ${reason(error)}`, { cause: error })
    }
  }

  async function write(path: string, text: string): Promise<void> {
    await mkdir(own, { recursive: true, mode: 0o700 })
    const temporary = `${path}.new`
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.chmod(0o600)
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncFolder(own)
  }

  return {
    async accountKey(make) {
      const kept = await read(account)
      if (kept !== undefined) return kept
      const key = await make()
      await write(account, key)
      return key
    },
    async pair() {
      const text = (await read(both)) ?? ''
      const at = text.indexOf('-----BEGIN CERTIFICATE-----')
      try {
        return at < 0 ? undefined : readPair(text.slice(at), text.slice(0, at))
      } catch {
        return undefined // a new one is had
      }
    },
    keep: ({ cert, key }) => write(both, `${key.trimEnd()}\n${cert}`)
  }
}
