// The threads of check-thread.ts. Plain JavaScript: a thread of its own would load the type stripper again, for
// twenty megabytes.
import { createHash } from 'node:crypto'
import { readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'

const piece = Buffer.allocUnsafeSlow(256 * 1024)
/** Running hashes of whole files, by number. */
const bodies = new Map()

parentPort?.on('message', ({ id, fd, offset, length, body, end, drop }) => {
  if (drop === true) {
    bodies.delete(body)
    return
  }
  const hash = createHash('sha256')
  let whole
  if (body !== undefined) {
    whole = bodies.get(body) ?? createHash('sha256')
    bodies.set(body, whole)
  }
  let done = 0
  try {
    while (done < length) {
      const n = readSync(fd, piece, 0, Math.min(piece.length, length - done), offset + done)
      if (n === 0) break
      const bytes = piece.subarray(0, n)
      hash.update(bytes)
      whole?.update(bytes)
      done += n
    }
  } catch (error) {
    parentPort.postMessage({ id, done, code: error.code ?? 'EIO', message: error.message }, [])
    return
  }
  const answer = { id, done, sha256: hash.digest(), whole: undefined }
  if (end === true) {
    answer.whole = whole?.digest()
    bodies.delete(body)
  }
  parentPort.postMessage(answer, [])
})
