import { hash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { leafNumber } from './leaf-pool.ts'

/** What the thread is told; see hash-worker.js. */
interface Question {
  /** 0 for a leaf that is only to be checked. */
  body: number
  id?: number
  /** How much of the buffer is meant, where it isn't all of it. */
  length?: number
  /** The buffer's number, and the buffer itself the first time. */
  at?: number
  share?: Uint8Array
  bytes?: Uint8Array
  leaf?: boolean
  end?: boolean
  drop?: boolean
}

interface Answer {
  id: number
  leaf: Uint8Array | undefined
  whole: Uint8Array | undefined
}

/** The sha256 of a body that comes in leaves. */
export interface BodyHash {
  /** Goes on with a leaf, which must stay as it is until this resolves; with the leaf's own sha256. */
  leaf(leaf: Uint8Array): Promise<Uint8Array>
  /** The same without the leaf's own, for one that was checked already. */
  known(leaf: Uint8Array): Promise<void>
  /** Ends with what is left: the sha256 of the whole and of this rest. */
  end(rest: Uint8Array): Promise<{ whole: Uint8Array; rest: Uint8Array }>
  /** Gives up. */
  drop(): void
}

/** How much memory the thread's heap may take, in MB: it holds a few hash states. */
const LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 }

/** The thread, while there is one. */
let thread: ReturnType<typeof start> | undefined
let bodies = 0

/**
 * Bodies are hashed on one thread beside the main one, which is busy with sockets: hashing there as well
 * halved what a transfer reached. `subtle.digest` also leaves the main thread, but first copies what it is
 * given, which costs as much there as the hash would, and it can't go on where it was.
 */
function start() {
  const worker = new Worker(new URL('./hash-worker.js', import.meta.url), { resourceLimits: LIMITS })
  const waiting = new Map<number, PromiseWithResolvers<Answer>>()
  const known = new Set<number>()
  let last = 0
  let online = false
  const fail = (error: Error) => {
    thread = undefined
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  worker.once('online', () => {
    online = true
  })
  worker.on('error', fail)
  worker.on('exit', () => fail(new Error('the hashing thread has ended')))
  worker.on('message', (answer: Answer) => {
    waiting.get(answer.id)?.resolve(answer)
    waiting.delete(answer.id)
    if (waiting.size === 0) worker.unref()
  })
  // last, for listening to its messages counts as waiting for it
  worker.unref()
  return {
    online: () => online,
    ask(question: Omit<Question, 'at' | 'share' | 'id'>, data: Uint8Array): Promise<Answer> {
      const id = ++last
      const at = leafNumber(data)
      if (waiting.size === 0) worker.ref()
      const answer = Promise.withResolvers<Answer>()
      waiting.set(id, answer)
      if (at === undefined) {
        const bytes = new Uint8Array(data.subarray(0, question.length))
        worker.postMessage({ ...question, id, bytes } satisfies Question, [bytes.buffer])
      } else if (known.has(at)) worker.postMessage({ ...question, id, at } satisfies Question, [])
      else {
        known.add(at)
        worker.postMessage({ ...question, id, at, share: data } satisfies Question, [])
      }
      return answer.promise
    },
    tell(question: Question) {
      worker.postMessage(question, [])
    }
  }
}

/**
 * The sha256 of the first `length` bytes of a leaf's buffer, which must stay as they are until then.
 * `undefined` where hashing it here is quicker: while the thread is still starting, or for memory that isn't shared.
 */
export function leafSha256(leaf: Uint8Array, length: number): Promise<Uint8Array> | undefined {
  if (thread === undefined) {
    thread = start()
    return undefined
  }
  // a buffer that isn't shared would have to be copied for it, which takes as long
  if (!thread.online() || leafNumber(leaf) === undefined) return undefined
  return thread.ask({ body: 0, leaf: true, length }, leaf).then(({ leaf: sha256 }) => sha256 as Uint8Array)
}

/** Forgets the states of bodies that nobody ended. */
const abandoned = new FinalizationRegistry<number>((body) => thread?.tell({ body, drop: true }))

/** A new body. The thread is started by the first leaf of the first one; a body of less than a leaf needs none. */
export function createBodyHash(): BodyHash {
  let body: number | undefined
  let on: typeof thread

  async function ask(question: Omit<Question, 'body' | 'at' | 'share' | 'id'>, data: Uint8Array) {
    if (body === undefined) {
      body = ++bodies
      thread ??= start()
      on = thread
      abandoned.register(self, body, self)
    }
    // a thread that has ended took the state of this body along
    if (on === undefined || on !== thread) throw new Error('the hashing thread has ended')
    return on.ask({ ...question, body }, data)
  }

  const self: BodyHash = {
    async leaf(leaf) {
      const { leaf: sha256 } = await ask({ leaf: true }, leaf)
      return sha256 as Uint8Array
    },
    async known(leaf) {
      await ask({}, leaf)
    },
    async end(rest) {
      if (body === undefined) {
        const only = new Uint8Array(hash('sha256', rest, 'buffer'))
        return { whole: only, rest: only }
      }
      const { whole, leaf } = await ask({ leaf: true, end: true }, rest)
      abandoned.unregister(self)
      return { whole: whole as Uint8Array, rest: leaf as Uint8Array }
    },
    drop() {
      if (body !== undefined) thread?.tell({ body, drop: true })
      abandoned.unregister(self)
    }
  }
  return self
}
