import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from './config.ts'

/** Options of publishers that name a file with a secret. */
const SECRETS = ['key', 'token'] as const

/** Folders below the data folder whose files are secrets. */
const FOLDERS = ['keys', join('auth', 'keys'), join('auth', 'tokens')]

/** Below it each authority that issues certificates has a folder with keys. */
const AUTHORITIES = 'acme'

/** Whether every user of the machine may read a file with this mode. */
const READABLE_BY_ALL = 0o004

/**
 * What to tell the operator of files with secrets that every user of the machine may read: the keys and tokens
 * that domains are published with, credentials of upstream registries, users, the key of the certificate, and the keys and
 * tokens in the data folder. What a group may read is left to the operator, since services share files so. A file that
 * isn't there is for its reader to complain of.
 */
export async function openSecrets(
  config: Pick<Config, 'publishers' | 'data'> &
    Partial<Pick<Config, 'upstreams' | 'upstreamAuth' | 'authUsers' | 'tlsKey'>>
): Promise<string[]> {
  const given = [...config.publishers.values()].flatMap(({ options }) =>
    SECRETS.flatMap((option) => options[option] ?? [])
  )
  const logins = [config.upstreamAuth, ...[...(config.upstreams?.values() ?? [])].map(({ auth }) => auth)]
  if (config.authUsers !== undefined) given.push(config.authUsers)
  const inside = async (folder: string) =>
    (await readdir(folder).catch(() => [])).map((name) => join(folder, name))
  const folders = [
    ...FOLDERS.map((name) => join(config.data, name)),
    ...(await inside(join(config.data, AUTHORITIES)))
  ]
  const own = (await Promise.all(folders.map(inside))).flat()
  const found: string[] = []
  for (const path of new Set([
    ...given,
    ...[...logins, config.tlsKey].flatMap((path) => path || []),
    ...own
  ])) {
    const file = await stat(path).catch(() => undefined)
    if (file?.isFile() === true && (file.mode & READABLE_BY_ALL) !== 0)
      found.push(`every user of this machine can read ${path}, which holds a secret: chmod 600 it`)
  }
  return found
}
