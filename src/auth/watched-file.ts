import { readFile, stat } from 'node:fs/promises'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'

/** What a file says, as it is now. */
export interface Watched<T> {
  /** What it says; what it said last while it can't be read or is wrong. */
  current(): Promise<T>
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
  const { path, parse, maxBytes, log, lookEveryMs = LOOK_EVERY } = options
  let seen = await versionOf(path)
  let value = await read(seen)
  let looked = performance.now()
  let looking: Promise<void> | undefined

  async function read(version: string | undefined): Promise<T> {
    if (version === undefined && 'missing' in options) return options.missing as T
    try {
      const bytes = await readFile(path)
      if (bytes.length > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`)
      return parse(bytes.toString())
    } catch (error) {
      throw new Error(`${path}: ${reason(error)}`, { cause: error })
    }
  }

  async function look(): Promise<void> {
    const version = await versionOf(path)
    if (version === seen) return
    seen = version
    try {
      // A file that has gone is a mistake, or about to be replaced: it opens nothing.
      if (version === undefined) throw new Error(`${path} has gone`)
      value = await read(version)
      log.info({ path }, 'read again, since it has changed')
    } catch (error) {
      log.error({ path, cause: reason(error) }, 'a file is wrong: what it said before goes on holding')
    }
  }

  return {
    async current() {
      if (looking === undefined && performance.now() - looked >= lookEveryMs) {
        looking = look().finally(() => {
          looked = performance.now()
          looking = undefined
        })
      }
      await looking
      return value
    }
  }
}

/** What changes when a file does; `undefined` where there is none. */
async function versionOf(path: string): Promise<string | undefined> {
  const file = await stat(path, { bigint: true }).catch(() => undefined)
  return file && [file.ino, file.size, file.mtimeNs, file.ctimeNs].join()
}
