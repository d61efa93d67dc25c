/**
 * Goes along a trace and looks, at each answer, whether what it promised was on the disk when it was written to the
 * socket: the blob's bytes and its name, the index's rows, the tree from its root to the tag.
 */
import { createDisk, type Disk } from './disk.ts'
import type { Historic } from './sender.ts'
import { createSyncedIndex } from './synced-index.ts'
import { descriptor, readTrace } from './trace.ts'

/** What a look at a trace gave. */
export interface Proof {
  /** Promises of which it was looked whether they were true; an answer may have made several. */
  readonly proven: number
  /** How many of them needed a file of a blob. */
  readonly files: number
  /** Logs of the index that were begun. */
  readonly logs: number
  /** What was not on the disk when it was answered. */
  readonly wrong: readonly string[]
}

/** The beginning of an answer's head, as strace writes it: `HTTP/1.1 `. */
const HEAD = String.raw`"\x48\x54\x54\x50\x2f\x31\x2e\x31\x20`

/**
 * Follows the trace of a gateway with the folder `data`.
 *
 * @param visit called at the beginning of each call, with what had been answered by then
 */
export async function proveTrace(
  trace: string,
  data: string,
  history: readonly Historic[],
  visit: (at: number, disk: Disk, answered: ReadonlySet<Historic>) => Promise<void> | undefined
): Promise<Proof> {
  const disk = createDisk(data)
  const index = createSyncedIndex(disk, data)
  const byPlace = Map.groupBy(
    history.filter(({ answer }) => answer !== undefined),
    ({ answer }) => `${answer?.port} ${answer?.nth}`
  )
  const counts = new Map<string, number>()
  const answered = new Set<Historic>()
  const wrong: string[] = []
  let files = 0

  /** What an answer that begins to be written promises. */
  function promises(args: string): readonly Historic[] {
    const port = /->127\.0\.0\.1:(\d+)\]/.exec(descriptor(args).what)?.[1]
    if (port === undefined || !args.slice(0, 400).includes(HEAD)) return []
    const nth = (counts.get(port) ?? 0) + 1
    counts.set(port, nth)
    return byPlace.get(`${port} ${nth}`) ?? []
  }

  for await (const event of readTrace(trace)) {
    if (event.kind === 'end') {
      disk.end(event.call)
      continue
    }
    const { name, args, at } = event
    disk.begin(name, args, at)
    await visit(at, disk, answered)
    // A log is removed once its rows are in a table.
    if (name === 'unlink') index.advance()
    if (name !== 'write' && name !== 'writev') continue
    for (const entry of promises(args)) {
      index.advance()
      const problem = await index.lacks(entry)
      const { kind, repository, name, digest } = entry
      if (problem !== undefined)
        wrong.push(`${repository} ${kind} ${name} -> ${digest ?? 'gone'}, answered at ${at}: ${problem}`)
      if (index.hasFile(name)) files++
      answered.add(entry)
    }
  }
  const lost = [...byPlace.values()].flat().length - answered.size
  if (lost > 0) throw new Error(`${lost} answers are not in the trace`)
  return { proven: answered.size, files, logs: index.logs(), wrong }
}
