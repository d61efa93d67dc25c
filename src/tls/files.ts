import { readFile, stat } from 'node:fs/promises'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { type KeyPair, readPair, validityOf } from './pair.ts'
import type { Identity } from './types.ts'

/** How often the files are looked at, in milliseconds. */
const LOOK_EVERY = 2000

/**
 * An identity out of two PEM files, which are read again when they change. A pair that is no good, or has ended
 * already, is logged, and the one before it stays. The two are not written at the same moment, so what doesn't fit
 * together is looked at twice before it counts as no good.
 *
 * @throws {RegistryError} UNAVAILABLE where the first pair can't be used
 */
export async function fileIdentity(options: {
  cert: string
  key: string
  log: Log
  /** For tests; {@link LOOK_EVERY} unless given. */
  everyMs?: number
}): Promise<Identity> {
  const { log } = options
  const listeners = new Set<(pair: KeyPair) => void>()
  const marks = async () => (await Promise.all([options.cert, options.key].map(markOf))).join()
  let seen = await marks()
  /** The state of the files that was no good when it was looked at. */
  let doubtful: string | undefined
  let trouble: string | undefined
  let pair = await read(options).catch((error: unknown) => {
    throw new RegistryError('UNAVAILABLE', reason(error), { cause: error })
  })
  if (validityOf(pair).to < Date.now())
    log.warn({ until: pair.certificate.validTo }, `the certificate in ${options.cert} has expired`)
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<void> | undefined

  async function look(): Promise<void> {
    const now = await marks()
    if (now === seen) return
    try {
      const next = await read(options)
      if (validityOf(next).to < Date.now()) throw new Error(`the certificate in ${options.cert} has expired`)
      seen = now
      trouble = undefined
      pair = next
      for (const listener of listeners) listener(pair)
      log.info({ until: pair.certificate.validTo }, 'the certificate was read again')
    } catch (error) {
      if (doubtful === now) {
        seen = now
        trouble = reason(error)
        log.error({ cause: trouble }, 'the new certificate cannot be used; the one before it stays')
      }
      doubtful = now
    }
  }

  return {
    get pair() {
      return pair
    },
    get trouble() {
      return trouble
    },
    onChange: (listener) => void listeners.add(listener),
    alpnProof: () => undefined,
    httpProof: () => undefined,
    start() {
      timer = setInterval(() => {
        looking ??= look().finally(() => {
          looking = undefined
        })
      }, options.everyMs ?? LOOK_EVERY)
      timer.unref()
    },
    async stop() {
      clearInterval(timer)
      await looking
    }
  }
}

/** What changes when a file is written or another one takes its name, also behind a symbolic link. */
async function markOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(path)
    return `${ino}.${size}.${mtimeMs}`
  } catch (error) {
    return reason(error)
  }
}

async function read({ cert, key }: { cert: string; key: string }): Promise<KeyPair> {
  const text = async (path: string, setting: string) =>
    readFile(path, 'utf8').catch((error: unknown) => {
      throw new Error(`${setting} is ${path}, which cannot be read: ${reason(error)}`, { cause: error })
    })
  const [certText, keyText] = await Promise.all([text(cert, 'SEAWAY_TLS_CERT'), text(key, 'SEAWAY_TLS_KEY')])
  try {
    return readPair(certText, keyText)
  } catch (error) {
    throw new Error(`the certificate ${cert} with the key ${key} cannot be used: ${reason(error)}`, {
      cause: error
    })
  }
}
