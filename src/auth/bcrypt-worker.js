// @ts-check
/** The thread in which passwords are hashed: tens of milliseconds each, which would hold up every stream. */
import { parentPort } from 'node:worker_threads'
import { compareSync, hashSync } from 'bcryptjs'

parentPort?.on(
  'message',
  (/** @type {{id: number, password: string, hash?: string, cost?: number}} */ ask) => {
    const { id, password, hash, cost } = ask
    try {
      const result = hash === undefined ? hashSync(password, cost) : compareSync(password, hash)
      parentPort?.postMessage({ id, result }, [])
    } catch (error) {
      parentPort?.postMessage({ id, error: String(error) }, [])
    }
  }
)
