/** A start does not look at what there is: a store of many blobs costs no more than one of few. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startCrashGateway } from '../crash/gateway.ts'
import { addClaimedBlobs } from '../support/big-store.ts'
import { useBed } from './support/bed.ts'
import { available } from './support/process.ts'

/** What each blob claims, in bytes: with 100,000 of them 1 TB. */
const SIZE = 10_000_000

describe('a start with many blobs', function () {
  this.timeout(120_000)
  const { folder } = useBed('start')

  before(function () {
    if (!available('strace')) this.skip()
  })

  /** Starts on `count` blobs, reads one, and returns how many calls named something in the data folder until it listened. */
  async function start(count: number): Promise<{ calls: number; paths: string[] }> {
    const data = folder(`data-${count}`)
    const trace = folder(`trace-${count}`)
    const [digest = ''] = await addClaimedBlobs(data, count, SIZE)
    const calls = 'trace=openat,open,stat,newfstatat,statx,lstat,getdents64,pread64,unlink,rename'
    const gateway = await startCrashGateway({
      data,
      under: ['strace', '-f', '-y', '-qq', '--seccomp-bpf', '-e', 'signal=none', '-o', trace, '-e', calls]
    })
    assert.ok(gateway !== undefined)
    const blob = `http://127.0.0.1:${gateway.port}/v2/many/blobs/${digest}`
    const head = await fetch(blob, { method: 'HEAD' })
    assert.deepEqual([head.status, head.headers.get('content-length')], [200, String(SIZE)])
    await gateway.stop()
    const lines = (await readFile(trace, 'utf8')).split('\n').filter((line) => line.includes(data))
    return { calls: lines.length, paths: lines.filter((line) => line.includes(join(data, 'blobs/'))) }
  }

  it('asks for as many files as one with few, and for none of the blobs', async () => {
    const [few, many] = [await start(10), await start(5000)]
    assert.ok(few.calls > 20, `${few.calls} calls: is the trace still understood?`)
    // The index has some more files when it has more rows.
    assert.ok(many.calls < few.calls + 200, `${many.calls} calls with 5,000 blobs, ${few.calls} with 10`)
    assert.ok(many.paths.length < 300, many.paths.slice(0, 5).join('\n'))
  })
})
