import assert from 'node:assert/strict'
import { createThrottle } from '../../src/auth/throttle.ts'

describe('slowing down who guesses', () => {
  let now = 1_000_000
  const fresh = () => createThrottle(() => now)
  const fail = (
    throttle: ReturnType<typeof fresh>,
    times: number,
    address: string | ((i: number) => string),
    user: string | ((i: number) => string)
  ) => {
    for (let i = 0; i < times; i++)
      throttle.failed(
        typeof address === 'string' ? address : address(i),
        typeof user === 'string' ? user : user(i)
      )
  }

  it('lets mistakes pass, then waits twice as long each time, up to five minutes', () => {
    const throttle = fresh()
    fail(throttle, 10, '192.0.2.1', (i) => `user ${i}`)
    assert.equal(throttle.wait('192.0.2.1', 'alice'), 0)
    const waits: number[] = []
    for (let i = 0; i < 12; i++) {
      fail(throttle, 1, '192.0.2.1', 'x')
      waits.push(throttle.wait('192.0.2.1', 'alice'))
      now += waits.at(-1) ?? 0
      assert.equal(throttle.wait('192.0.2.1', 'alice'), 0)
    }
    assert.deepEqual(waits.slice(0, 4), [1000, 2000, 4000, 8000])
    assert.equal(waits.at(-1), 300_000)
    assert.equal(throttle.wait('192.0.2.2', 'alice'), 0)
  })

  it('slows down one user from everywhere, but not where that user has logged in', () => {
    const throttle = fresh()
    throttle.succeeded('198.51.100.7', 'alice')
    fail(throttle, 60, (i) => `192.0.2.${i}`, 'alice')
    assert.ok(throttle.wait('203.0.113.9', 'alice') > 0)
    assert.equal(throttle.wait('203.0.113.9', 'bob'), 0)
    assert.equal(throttle.wait('198.51.100.7', 'alice'), 0)
  })

  it('does not forget the guesses at others when somebody logs in', () => {
    const throttle = fresh()
    fail(throttle, 11, '192.0.2.1', 'alice')
    throttle.succeeded('192.0.2.1', 'mallory')
    assert.ok(throttle.wait('192.0.2.1', 'mallory') > 0)
  })

  it('lets who has to wait try one at a time, and others as many as they like', () => {
    const throttle = fresh()
    fail(throttle, 10, '192.0.2.1', 'x')
    const first = throttle.begin('192.0.2.1', 'x')
    assert.equal(throttle.wait('192.0.2.1', 'alice'), 0)
    throttle.failed('192.0.2.1', 'x')
    first()
    now += throttle.wait('192.0.2.1', 'x')
    assert.equal(throttle.wait('192.0.2.1', 'alice'), 0)
    const ends = [throttle.begin('192.0.2.1', 'x'), throttle.begin('192.0.2.1', 'y')]
    for (const end of ends) {
      assert.ok(throttle.wait('192.0.2.1', 'alice') > 0)
      assert.equal(throttle.wait('192.0.2.2', 'x'), 0)
      end()
    }
    assert.equal(throttle.wait('192.0.2.1', 'alice'), 0)
  })

  it('takes a network of IPv6 for one address', () => {
    const throttle = fresh()
    fail(
      throttle,
      11,
      (i) => `2001:db8:1:2::${i}`,
      (i) => `user ${i}`
    )
    assert.ok(throttle.wait('2001:db8:1:2:ffff::', 'alice') > 0)
    assert.equal(throttle.wait('2001:db8:1:3::1', 'alice'), 0)
  })
})
