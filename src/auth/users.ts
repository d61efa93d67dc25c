import { mkdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { RegistryError, reason } from '../oci/errors.ts'
import { writeWhole } from '../store/whole-file.ts'

/** The largest users file, in bytes: some 10,000 users. */
export const MAX_USERS_FILE = 1024 * 1024

/** What a user may be called. A colon parts name and hash in the file, and issuer and name in rules. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$/

/** bcrypt of the costs that can be answered in seconds. Other schemes of htpasswd are too weak to be taken. */
const HASH = /^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$/

/** How often another command is waited for that writes the file, and how long each time, in milliseconds. */
const LOCK_TRIES = 200
const LOCK_PAUSE = 25

/** Names that mean something else. */
const RESERVED = ['anonymous', 'token']

/** Whether somebody can be called so. @throws {RegistryError} REQUEST_INVALID that says what is needed */
export function checkUserName(name: string): string {
  if (NAME.test(name) && !RESERVED.includes(name)) return name
  throw new RegistryError(
    'REQUEST_INVALID',
    `'${name.slice(0, 80)}' can't be the name of a user: letters, digits and . _ @ + - are allowed, at most 64, and not ${RESERVED.join(' or ')}`
  )
}

/** Reads an htpasswd file: hashes by name. Throws an Error that says which line is wrong, and why. */
export function parseUsers(text: string): ReadonlyMap<string, string> {
  const users = new Map<string, string>()
  for (const [i, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const colon = line.indexOf(':')
    const [name, hash] = [line.slice(0, Math.max(0, colon)), line.slice(colon + 1)]
    if (!NAME.test(name) || RESERVED.includes(name))
      throw new Error(`line ${i + 1} does not begin with NAME:`)
    if (!HASH.test(hash)) {
      throw new Error(
        `line ${i + 1}, ${name}: the password is not hashed with bcrypt of cost 4 to 15; 'seaway login-user ${name}' or 'htpasswd -B' does that`
      )
    }
    if (users.has(name)) throw new Error(`line ${i + 1}: there are two lines for ${name}`)
    users.set(name, hash)
  }
  return users
}

/**
 * Writes one user's hash into an htpasswd file, or takes the user out (`undefined`); other lines stay as they are. The
 * file is replaced as a whole, where a symbolic link leads to, readable to its owner alone if it is new. Several that
 * write at once come one after another.
 *
 * @returns whether the user was there before
 * @throws {RegistryError} UNAVAILABLE when it can't be read or written, REQUEST_INVALID when it is no such file
 */
export async function writeUser(path: string, name: string, hash: string | undefined): Promise<boolean> {
  const file = await realpath(path).catch(() => path)
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    return await alone(`${file}.lock`, () => rewrite(file, name, hash))
  } catch (error) {
    if (error instanceof RegistryError) throw error
    throw new RegistryError('UNAVAILABLE', `the users file ${file} cannot be written: ${reason(error)}`, {
      cause: error
    })
  }
}

async function rewrite(file: string, name: string, hash: string | undefined): Promise<boolean> {
  const before = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw new RegistryError('UNAVAILABLE', `the users file ${file} cannot be read: ${reason(error)}`)
  })
  let users: ReadonlyMap<string, string>
  try {
    users = parseUsers(before)
  } catch (error) {
    throw new RegistryError('REQUEST_INVALID', `the users file ${file}: ${reason(error)}`, { cause: error })
  }
  const others = before.split('\n').filter((line) => !line.trim().startsWith(`${name}:`))
  while (others.at(-1)?.trim() === '') others.pop()
  const lines = hash === undefined ? others : [...others, `${name}:${hash}`]
  const was = await stat(file).catch(() => undefined) // none yet; what else is wrong with it, writing says
  await writeWhole(file, lines.map((line) => `${line}\n`).join(''), async (written) => {
    if (was === undefined) return
    // a group that may read the file goes on being able to
    await written.chmod(was.mode & 0o777)
    await written.chown(was.uid, was.gid).catch(() => undefined) // only root may give files away
  })
  return users.has(name)
}

/** Runs `work` while nobody else does, as `lock` says, which is a file as long as somebody does. */
async function alone<T>(lock: string, work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      await writeFile(lock, '', { flag: 'wx', mode: 0o600 })
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      if (tries === LOCK_TRIES)
        throw new RegistryError(
          'UNAVAILABLE',
          `another command writes the users file; if none does, one was killed: remove ${lock}`
        )
      await sleep(LOCK_PAUSE)
    }
  }
  try {
    return await work()
  } finally {
    await rm(lock, { force: true })
  }
}
