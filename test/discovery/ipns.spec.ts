/** Finding where IPNS names lead, for several who ask at once. */
import assert from 'node:assert/strict'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { createIpnsBook, createIpnsResolver, makeRecord, nameOfKey } from '../../src/discovery/index.ts'
import type { Routing } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { memoryRecords } from '../support/ipfs-nodes.ts'

const log = createLog('silent')
const VALUE = '/ipfs/bafkqaaa'

describe('finding where an IPNS name leads', () => {
  /** A network that answers when it is let, and until then only hears that it is called off. */
  async function network() {
    const key = await generateKeyPair('Ed25519')
    const asked = Promise.withResolvers<void>()
    const answer = Promise.withResolvers<void>()
    const seen = { times: 0 }
    const routing: Pick<Routing, 'records'> = {
      async *records(_, signal) {
        seen.times += 1
        asked.resolve()
        const off = Promise.withResolvers<never>()
        signal.addEventListener('abort', () => off.reject(signal.reason as Error), { once: true })
        await Promise.race([answer.promise, off.promise])
        const made = { value: VALUE, sequence: 1n, lifetimeMs: 3_600_000, ttlMs: 60_000, providers: [] }
        yield { by: 'the network', bytes: await makeRecord(key, { ...made, now: Date.now() }) }
      }
    }
    const ipfs = { routing: routing as Routing, async *ask() {} }
    const book = createIpnsBook({ records: memoryRecords(), log, now: Date.now })
    const resolver = createIpnsResolver({ ipfs, book, timeoutMs: 60_000, log })
    return { name: nameOfKey(key).text, resolver, asked: asked.promise, answer: answer.resolve, seen }
  }

  it('goes on for the others when the one who asked first leaves', async () => {
    const { name, resolver, asked, answer, seen } = await network()
    const leaver = new AbortController()
    const first = resolver.resolve(name, { signal: leaver.signal })
    await asked
    const second = resolver.resolve(name, { signal: new AbortController().signal })
    await new Promise((resolve) => setImmediate(resolve)) // it has joined
    leaver.abort(new Error('Ctrl-C'))
    await assert.rejects(first, /Ctrl-C/)
    answer()
    assert.equal((await second).path, VALUE)
    assert.equal(seen.times, 1)
  })

  it('ends when the gateway stops', async () => {
    const { name, resolver, asked } = await network()
    const work = resolver.resolve(name, { signal: new AbortController().signal })
    await asked
    await Promise.all([
      resolver.stop(),
      assert.rejects(work, (error) => error instanceof RegistryError && error.code === 'UNAVAILABLE')
    ])
  })
})
