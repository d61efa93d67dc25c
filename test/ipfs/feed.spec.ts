import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createFeed } from '../../src/ipfs/feed.ts'
import type { Gateway } from '../../src/ipfs/gateway.ts'
import { createLog } from '../../src/log.ts'
import { rawCid } from '../../src/store/index.ts'

const MiB = 1024 * 1024

describe('ipfs: the feed of a file', () => {
  const cidOf = (text: string) => rawCid(createHash('sha256').update(text).digest())

  /** A gateway whose connections are made, or fail, when the test says so. */
  function gateway(name: string) {
    const dials: { fail(error: Error): void }[] = []
    const dialled = new EventTarget()
    const made: Pick<Gateway, 'name' | 'source' | 'connect' | 'request'> = {
      name,
      source: name,
      request: () => '',
      connect() {
        return new Promise((_, fail) => {
          dials.push({ fail })
          dialled.dispatchEvent(new Event('dial'))
        })
      }
    }
    return { gateway: made as Gateway, dials, next: () => once(dialled, 'dial') }
  }

  it('asks whoever is left when one gateway has failed on two connections', async () => {
    const dead = gateway('dead')
    const live = gateway('live')
    const end = new AbortController()
    let here = Number.POSITIVE_INFINITY
    const failed: string[] = []
    const feed = createFeed({
      file: cidOf('file'),
      gateways: [dead.gateway, live.gateway],
      presence: {
        hereAfter: (offset) => (offset < here ? here : Number.POSITIVE_INFINITY),
        unknownAfter: () => Number.POSITIVE_INFINITY
      },
      down: undefined,
      dialMs: 60_000,
      silenceMs: 60_000,
      signal: end.signal,
      failed: ({ name }) => failed.push(name),
      delivered: () => undefined,
      log: createLog('silent')
    })
    const take = (text: string, offset: number) =>
      feed.take(cidOf(text), { offset, depth: 1, needed: Promise.resolve(true), signal: end.signal })

    const first = dead.next()
    const leaf = take('first', 0)
    await first
    // some of what it was asked for has turned up here: its connection ends before that, what is behind needs another
    here = 4 * MiB
    const second = dead.next()
    feed.look()
    const later = take('later', 5 * MiB)
    await second
    const asked = live.next().then(() => 'the other gateway is asked')
    for (const { fail } of dead.dials) fail(new Error('connection refused'))
    const outcome = await Promise.race([asked, ...[leaf, later].map((given) => given.then(() => 'given up'))])
    end.abort(new Error('the test is over'))
    await Promise.allSettled([leaf, later])
    assert.equal(outcome, 'the other gateway is asked')
    assert.deepEqual([...new Set(failed)], ['dead'])
  })
})
