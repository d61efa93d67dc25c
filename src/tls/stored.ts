import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RegistryError, reason } from '../oci/errors.ts'
import { writeWhole } from '../store/whole-file.ts'
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

  return {
    async accountKey(make) {
      const kept = await read(account)
      if (kept !== undefined) return kept
      const key = await make()
      await writeWhole(account, key)
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
    keep: ({ cert, key }) => writeWhole(both, `${key.trimEnd()}\n${cert}`)
  }
}
