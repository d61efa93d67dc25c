import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { garbage } from '../../src/store/garbage.ts'

const MiB = 1024 * 1024

/** Less than what makes V8 collect by itself. */
const LITTER = 24

describe('store: garbage', () => {
  const held = () => process.memoryUsage().arrayBuffers / MiB

  it('gives back what short-lived buffers hold, each 8 MiB', async () => {
    garbage(8 * MiB)
    const before = held()
    for (let i = 0; i < LITTER; i++) Buffer.allocUnsafeSlow(MiB)
    garbage(MiB)
    assert.ok(held() - before > LITTER - 4, `only ${held() - before} MiB are held before there is enough`)
    garbage(7 * MiB)
    // they are swept on another thread
    for (const end = Date.now() + 5000; held() - before > 4 && Date.now() < end; ) await delay(10)
    assert.ok(held() - before <= 4, `${held() - before} MiB are still held`)
  })

  it('leaves no gc behind for others', () => {
    garbage(8 * MiB)
    assert.equal(Reflect.get(globalThis, 'gc'), undefined)
  })
})
