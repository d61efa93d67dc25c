import type { IndexDb } from './index-db.ts'

/**
 * Reads rows, those that are asked for in one turn together: a look for one row is mostly the way to another thread
 * and back.
 */
export function createGathered(db: IndexDb): (key: Uint8Array) => Promise<Uint8Array | undefined> {
  let asked: { key: Uint8Array; answer: PromiseWithResolvers<Uint8Array | undefined> }[] = []
  async function read(): Promise<void> {
    const now = asked
    asked = []
    try {
      const values = await db.getMany(now.map(({ key }) => key))
      for (const [i, { answer }] of now.entries()) answer.resolve(values[i])
    } catch (error) {
      for (const { answer } of now) answer.reject(error)
    }
  }
  return (key) => {
    const answer = Promise.withResolvers<Uint8Array | undefined>()
    if (asked.push({ key, answer }) === 1) queueMicrotask(() => void read())
    return answer.promise
  }
}
