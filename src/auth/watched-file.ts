import { readFile, stat } from 'node:fs/promises'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'

/** What a file says, as it is now. */
export interface Watched<T> {
  /** What it says; what it said last while it can't be read or is wrong. */
  current(): Promise<T>
  /** The same, looked at now: where somebody would be refused for what has just changed. */
  latest(): Promise<T>
}

/** How often a file is looked at, at most, in milliseconds. */
const LOOK_EVERY = 1000

/**
 * Reads a file, and again whenever it has changed; it is looked at when somebody asks. A file that can't be read, or
 * is wrong, is an error in the log once, and what it said before goes on holding.
 *
 * @param options.missing what holds while there is no such file; it must be there unless given
 * @throws Error that names the file and what is wrong with it, the first time
 */
export async function watchFile<T>(options: {
  path: string
  parse: (text: string) => T
  maxBytes: number
  missing?: T
  lookEveryMs?: number
  log: Log
}): Promise<Watched<T>> {
  const { path, parse, maxBytes } = options
  let first = true

  async function read(): Promise<T> {
    const isThere = (await versionOf(path)) !== undefined
    if (!isThere && first && 'missing' in options) return options.missing as T
    // A file that has gone is a mistake, or about to be replaced: it opens nothing.
    if (!isThere && !first) throw new Error(`${path} has gone`)
    try {
      const bytes = await readFile(path)
      if (bytes.length > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`)
      return parse(bytes.toString())
    } catch (error) {
      throw new Error(`${path}: ${reason(error)}`, { cause: error })
    } finally {
      first = false
    }
  }
  return watchFiles({ ...options, read: async () => ({ value: await read(), files: [path] }) })
}

/**
 * The same for something that several files say together: `read` also tells which those are. Where they can't be read,
 * or are wrong, it is tried again each time.
 *
 * @param options.path which of them stands for all in the log
 * @throws what `read` throws, the first time
 */
export async function watchFiles<T>(options: {
  path: string
  read: () => Promise<{ value: T; files: readonly string[] }>
  lookEveryMs?: number
  log: Log
}): Promise<Watched<T>> {
  const { path, read, log, lookEveryMs = LOOK_EVERY } = options
  let { value, files, seen } = await readAll([path])
  let looked = performance.now()
  let looking: Promise<void> | undefined
  let wrong: string | undefined

  /** Reads them as they are, and what they were before that: a change in between is then one that is seen. */
  async function readAll(known: readonly string[]) {
    for (;;) {
      const before = await versionsOf(known)
      const { value, files } = await read()
      if (files.join('\n') === known.join('\n')) return { value, files, seen: before }
      known = files
    }
  }

  async function look(): Promise<void> {
    const versions = await versionsOf(files)
    if (versions === seen && wrong === undefined) return
    try {
      ;({ value, files, seen } = await readAll(files))
      wrong = undefined
      log.info({ path }, 'read again, since it has changed')
    } catch (error) {
      if (wrong === reason(error)) return
      wrong = reason(error)
      log.error({ path, cause: wrong }, 'a file is wrong: what it said before goes on holding')
    }
  }

  async function upTo(ageMs: number): Promise<T> {
    if (looking === undefined && performance.now() - looked >= ageMs) {
      looking = look().finally(() => {
        looked = performance.now()
        looking = undefined
      })
    }
    await looking
    return value
  }

  return {
    current: () => upTo(lookEveryMs),
    async latest() {
      await looking // what began before may have missed it
      return upTo(0)
    }
  }
}

async function versionsOf(files: readonly string[]): Promise<string> {
  return (await Promise.all(files.map(async (file) => `${file} ${await versionOf(file)}`))).join('\n')
}

/** What changes when a file does; `undefined` where there is none. */
async function versionOf(path: string): Promise<string | undefined> {
  const file = await stat(path, { bigint: true }).catch(() => undefined) // there is none: who reads it says why
  return file && [file.ino, file.size, file.mtimeNs, file.ctimeNs].join()
}
