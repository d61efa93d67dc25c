// The thread of hash-thread.ts. Plain JavaScript: a thread of its own would load the type stripper again, for
// twenty megabytes.
import { createHash, hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'

/** Buffers shared with the main thread, by number. */
const shared = new Map()
/** Running hashes of bodies, by number. */
const bodies = new Map()

parentPort?.on('message', ({ id, body, share, at, bytes, length, leaf, end, drop }) => {
  if (share !== undefined) shared.set(at, share)
  if (drop === true) {
    bodies.delete(body)
    return
  }
  const data = bytes ?? shared.get(at).subarray(0, length)
  if (body === 0) {
    parentPort.postMessage({ id, leaf: hash('sha256', data, 'buffer'), whole: undefined }, [])
    return
  }
  let whole = bodies.get(body)
  if (whole === undefined) {
    whole = createHash('sha256')
    bodies.set(body, whole)
  }
  whole.update(data)
  const answer = { id, leaf: leaf ? hash('sha256', data, 'buffer') : undefined, whole: undefined }
  if (end === true) {
    answer.whole = whole.digest()
    bodies.delete(body)
  }
  parentPort.postMessage(answer, [])
})
