import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { Records } from '../store/index.ts'

/** A tree of somebody else that was read here. */
export interface PulledRoot {
  readonly root: CID
  /** When it was read last (epoch ms). */
  readonly used: number
}

/**
 * The trees of others that were read here. What is here of their directories stays as long as they are among
 * those used lately, so that what was pulled can go on being served when its publisher is gone.
 */
export interface PulledRoots {
  /** `root` is being read. */
  note(root: CID): void
  /** All of them, those used last first. */
  list(): Promise<PulledRoot[]>
  forget(roots: readonly CID[]): Promise<void>
  /** Writes down when they were used. */
  save(): Promise<void>
}

const PREFIX = 'pulled/'

export function createPulledRoots(records: Records, log: Log): PulledRoots {
  const used = new Map<string, number>()
  const known = new Set<string>()

  async function write(key: string, time: number): Promise<void> {
    await records.put(PREFIX + key, Buffer.from(String(time)))
  }

  async function save(): Promise<void> {
    const all = [...used]
    for (const [key, time] of all) {
      await write(key, time)
      if (used.get(key) === time) used.delete(key)
    }
  }

  return {
    note(root) {
      const key = root.toV1().toString()
      const now = Date.now()
      if (known.has(key)) {
        used.set(key, now)
        return
      }
      // The first time is written down at once: a collection right after a crash would take it otherwise.
      if (known.size > 10_000) known.clear()
      known.add(key)
      write(key, now).catch((error: unknown) => {
        known.delete(key)
        log.warn({ root: key, cause: reason(error) }, 'could not write down that a tree was read')
      })
    },
    async list() {
      await save().catch((error: unknown) => {
        // a collection asks, which is what makes room again
        log.warn({ cause: reason(error) }, 'could not write down which trees were read')
      })
      const found: PulledRoot[] = []
      for await (const [key, value] of records.list(PREFIX)) {
        const name = key.slice(PREFIX.length)
        found.push({ root: CID.parse(name), used: used.get(name) ?? Number(Buffer.from(value).toString()) })
      }
      return found.sort((a, b) => b.used - a.used)
    },
    async forget(roots) {
      for (const root of roots) {
        known.delete(root.toString())
        await records.delete(PREFIX + root.toString())
      }
    },
    save
  }
}
