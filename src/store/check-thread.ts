import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'

/** What a thread is told; see check-worker.js. */
interface Question {
  id?: number
  fd?: number
  offset?: number
  length?: number
  /** The number of a file whose whole is hashed as its parts are. */
  body?: number
  end?: boolean
  drop?: boolean
}

interface Answer {
  id: number
  /** Bytes that were there, at most `length`. */
  done: number
  sha256?: Uint8Array
  whole?: Uint8Array
  code?: string
  message?: string
}

/** What a part of a file turned out to be. */
export interface Part {
  /** Bytes that were there: less than asked for only where the file ends. */
  readonly length: number
  readonly sha256: Uint8Array
}

/** The parts of one file in order, and the whole. */
export interface WholeFile {
  /** The next `length` bytes. @throws Error with the system's `code` */
  next(length: number): Promise<Part>
  /** Ends with what is left, at most `length` bytes: the part, and the sha256 of all of it. */
  end(length: number): Promise<{ part: Part; whole: Uint8Array }>
  /** Gives up. */
  drop(): void
}

/** How much memory a thread's heap may take, in MB: it holds a few hash states. */
const LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 }

/**
 * How many threads there may be. They read as well as hash, and a read that waits for the disk holds only the
 * thread that makes it; another one is started when all are busy.
 */
const MAX_THREADS = Math.min(4, Math.max(2, availableParallelism()))

const threads: ReturnType<typeof start>[] = []
let bodies = 0

/**
 * A thread that reads files by the main thread's descriptors and hashes what it reads: nothing of the bytes
 * passes the main thread, which has clients to serve.
 */
function start() {
  const worker = new Worker(new URL('./check-worker.js', import.meta.url), { resourceLimits: LIMITS })
  const waiting = new Map<number, PromiseWithResolvers<Answer>>()
  let last = 0
  const fail = (error: Error) => {
    const at = threads.indexOf(self)
    if (at >= 0) threads.splice(at, 1)
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  worker.unref()
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('a checking thread has ended')))
  worker.on('message', (answer: Answer) => {
    waiting.get(answer.id)?.resolve(answer)
    waiting.delete(answer.id)
    if (waiting.size === 0) worker.unref()
  })
  const self = {
    busy: () => waiting.size,
    ask(question: Question): Promise<Answer> {
      const id = ++last
      const answer = Promise.withResolvers<Answer>()
      if (waiting.size === 0) worker.ref()
      waiting.set(id, answer)
      worker.postMessage({ ...question, id } satisfies Question, [])
      return answer.promise
    },
    tell: (question: Question) => worker.postMessage(question, [])
  }
  return self
}

function thread(): ReturnType<typeof start> {
  const [least] = [...threads].sort((a, b) => a.busy() - b.busy())
  if (least !== undefined && (least.busy() === 0 || threads.length >= MAX_THREADS)) return least
  const fresh = start()
  threads.push(fresh)
  return fresh
}

/**
 * The sha256 of `length` bytes of an open file from `offset`. The descriptor must stay open until this ends.
 *
 * @throws Error with the system's `code` when they can't be read
 */
export async function hashPart(fd: number, offset: number, length: number): Promise<Part> {
  return partOf(await thread().ask({ fd, offset, length }))
}

/** Hashes a file from its beginning to its end, part by part. The descriptor must stay open meanwhile. */
export function hashWhole(fd: number): WholeFile {
  const on = thread()
  const body = ++bodies
  let offset = 0
  const ask = async (length: number, end: boolean) => {
    const answer = await on.ask({ fd, offset, length, body, end })
    offset += answer.done
    return answer
  }
  return {
    next: async (length) => partOf(await ask(length, false)),
    async end(length) {
      const answer = await ask(length, true)
      return { part: partOf(answer), whole: answer.whole as Uint8Array }
    },
    drop: () => on.tell({ body, drop: true })
  }
}

function partOf({ done, sha256, code, message }: Answer): Part {
  if (sha256 === undefined) throw Object.assign(new Error(message), { code })
  return { length: done, sha256 }
}
