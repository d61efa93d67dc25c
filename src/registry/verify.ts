import { setTimeout as sleep } from 'node:timers/promises'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { CheckOptions, SetAside, Store, Verdict } from '../store/index.ts'
import type { LoadBlock, TreeWriter } from '../tree/index.ts'
import type { Repair } from './repair.ts'

/** What is asked of a verification. */
export interface VerifyOptions {
  /** Bytes a second at most; no limit if not given. */
  readonly rate: number | undefined
  /** Begins anew instead of going on where the last one was interrupted. */
  readonly restart: boolean
}

/** How far it is. */
export type VerifyProgress = (report: {
  what: string
  done: number
  total: number
  unit: 'bytes' | 'items'
}) => void

/** What a verification came to. */
export interface VerifyReport {
  /** ISO 8601; of the first run, where this one went on. */
  readonly startedAt: string
  readonly resumed: boolean
  readonly blobs: number
  readonly blocks: number
  /** Bytes that were read. */
  readonly bytes: number
  /** Things whose rows in the index were wrong and could be worked out again. */
  readonly mended: number
  /** Damaged parts (leaves of 1 MiB, small blocks) of all that was found. */
  readonly damaged: number
  /** What was set aside and nobody was told of yet: by this verification, and by reads since the last one. */
  readonly found: readonly SetAside[]
  /** How many of them are needed and not repaired. */
  readonly bad: number
  /** Domains the root of whose tree can't be had. */
  readonly rootless: readonly string[]
}

/** Reading everything in the store against what names it. */
export interface Verification {
  /** @throws {RegistryError} UNAVAILABLE while another one runs */
  run(options: VerifyOptions, signal: AbortSignal, progress: VerifyProgress): Promise<VerifyReport>
}

/** Where a verification is, for the one that goes on with it. */
interface Bookmark {
  readonly startedAt: string
  phase: 'blocks' | 'blobs' | 'aliases'
  /** The last small block (hex of its multihash), blob or sha512 (digests) that was checked. */
  after: string
  blobs: number
  blocks: number
  bytes: number
  mended: number
}

const BOOKMARK = 'verify/progress'

/** How often the bookmark is written, in milliseconds. */
const SAVE_MS = 5000

export function createVerification(options: {
  store: Store
  repair: Repair
  trees: () => TreeWriter
  loader: (domain: string) => LoadBlock
}): Verification {
  const { store, repair, trees } = options
  const { integrity, quarantine, records } = store
  let running = false

  async function load(restart: boolean): Promise<{ mark: Bookmark; resumed: boolean }> {
    const value = restart ? undefined : await records.get(BOOKMARK)
    if (value !== undefined)
      return { mark: JSON.parse(Buffer.from(value).toString()) as Bookmark, resumed: true }
    const startedAt = new Date().toISOString()
    return {
      mark: { startedAt, phase: 'blocks', after: '', blobs: 0, blocks: 0, bytes: 0, mended: 0 },
      resumed: false
    }
  }

  async function pass(
    mark: Bookmark,
    { rate }: VerifyOptions,
    signal: AbortSignal,
    progress: VerifyProgress
  ): Promise<void> {
    const start = performance.now()
    let read = 0
    let savedAt = start
    let report = () => {}
    const save = () => records.put(BOOKMARK, Buffer.from(JSON.stringify(mark)))
    const check: CheckOptions = {
      signal,
      foundBy: 'verify',
      async pace(bytes) {
        read += bytes
        mark.bytes += bytes
        report()
        const early = rate === undefined ? 0 : (read / rate) * 1000 - (performance.now() - start)
        if (early > 1) await sleep(early, undefined, { signal })
      }
    }
    const take = async (verdict: Verdict) => {
      if (verdict.kind === 'mended') mark.mended++
      if (verdict.kind === 'aside') await repair.fetch(verdict.entry, signal)
      if (performance.now() - savedAt < SAVE_MS) return
      await save()
      savedAt = performance.now()
    }
    try {
      if (mark.phase === 'blocks') {
        const total = await count(integrity.blocks(undefined), signal)
        report = () =>
          progress({
            what: 'small blocks',
            done: mark.blocks,
            total: Math.max(total, mark.blocks),
            unit: 'items'
          })
        const after = mark.after === '' ? undefined : Buffer.from(mark.after, 'hex')
        for await (const multihash of integrity.blocks(after)) {
          signal.throwIfAborted()
          const verdict = await integrity.block(multihash, check)
          mark.blocks++
          mark.after = Buffer.from(multihash).toString('hex')
          await take(verdict)
        }
        mark.phase = 'blobs'
        mark.after = ''
      }
      if (mark.phase === 'blobs') {
        const after = mark.after === '' ? undefined : (mark.after as Digest)
        let total = 0
        for await (const { size } of integrity.blobs(after)) {
          signal.throwIfAborted()
          total += size
        }
        const begun = mark.bytes
        report = () =>
          progress({ what: 'blobs', done: Math.min(total, mark.bytes - begun), total, unit: 'bytes' })
        for await (const { digest } of integrity.blobs(after)) {
          signal.throwIfAborted()
          const verdict = await integrity.blob(digest, check)
          mark.blobs++
          mark.after = digest
          await take(verdict)
        }
        mark.phase = 'aliases'
        mark.after = ''
      }
      report = () => {}
      await aliases(mark, check, take, progress)
    } catch (error) {
      await save()
      throw error
    }
  }

  /** What trees name by a sha512, which is another name for a blob here. */
  async function aliases(
    mark: Bookmark,
    check: CheckOptions,
    take: (verdict: Verdict) => Promise<void>,
    progress: VerifyProgress
  ): Promise<void> {
    const { signal } = check
    const after = mark.after === '' ? undefined : (mark.after as Digest)
    const total = await count(integrity.aliases(after), signal)
    let done = 0
    for await (const digest of integrity.aliases(after)) {
      signal.throwIfAborted()
      const needed = () => repair.named(digest, signal)
      const verdict = await integrity.alias(digest, { ...check, needed })
      mark.after = digest
      progress({ what: 'sha512 digests', done: Math.min(total, ++done), total, unit: 'items' })
      await take(verdict)
    }
  }

  /** Every local tree must have its root, and what can be had of one that is missing comes from its peers. */
  async function rootless(signal: AbortSignal): Promise<string[]> {
    const missing: string[] = []
    for await (const domain of trees().domains()) {
      const root = await trees().root(domain)
      if (root === undefined) continue
      await options
        .loader(domain)(root, signal)
        .catch((error: unknown) => {
          signal.throwIfAborted()
          missing.push(`${domain}: ${reason(error)}`)
        })
    }
    return missing
  }

  return {
    async run(given, signal, progress) {
      if (running)
        throw new RegistryError('UNAVAILABLE', 'a verification is running already: wait for its end')
      running = true
      try {
        const { mark, resumed } = await load(given.restart)
        await pass(mark, given, signal, progress)
        await repair.retry(signal)
        const found: SetAside[] = []
        for await (const entry of quarantine.entries()) {
          if (entry.told && entry.state !== 'bad') continue
          found.push(entry)
        }
        const missing = await rootless(signal)
        for (const { name } of found) await quarantine.update(name, { told: true })
        await quarantine.tidy()
        await records.delete(BOOKMARK)
        const { startedAt, blobs, blocks, bytes, mended } = mark
        return {
          startedAt,
          resumed,
          blobs,
          blocks,
          bytes,
          mended,
          damaged: found.reduce((sum, entry) => sum + entry.damaged, 0),
          found,
          bad: found.filter(({ state }) => state === 'bad').length,
          rootless: missing
        }
      } finally {
        running = false
      }
    }
  }
}

async function count(items: AsyncIterable<unknown>, signal: AbortSignal): Promise<number> {
  let all = 0
  for await (const _ of items) {
    signal.throwIfAborted()
    all++
  }
  return all
}
