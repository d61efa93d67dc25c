import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { available } from './support/process.ts'
import { runSealed } from './support/sealed-net.ts'
import { ALLOWED, PUBLIC } from './support/steering-table.ts'
import { type Led, TARGETS, WAYS } from './support/steering-upstream-table.ts'

const MACHINE = fileURLToPath(new URL('support/steering-upstream-machine.ts', import.meta.url))

/** As `steering.spec.ts`, for what other registries say. */
describe('where another registry can point a gateway', () => {
  let led: Led[] = []
  before(async function () {
    if (!available('ip')) this.skip()
    led = await runSealed<Led[]>(MACHINE)
  })

  const by = (gateway: string) => {
    const found = led.filter((one) => one.gateway === gateway)
    assert.equal(found.length, TARGETS.length * WAYS.length)
    return found
  }
  const harmful = ({ host, dialled }: Led, allowed: readonly string[]) =>
    dialled.filter((ip) => !allowed.includes(ip) && !(ip === PUBLIC && /mixed|rebind/.test(host)))

  it('nowhere but to public addresses, beyond loopback', () => {
    for (const one of by('beyond loopback')) {
      assert.deepEqual(harmful(one, [PUBLIC]), [], `${one.way} ${one.host}`)
      assert.ok([404, 502, 504].includes(one.status), `${one.way} ${one.host}: ${one.status}`)
      if (one.host === PUBLIC) assert.deepEqual(one.dialled, [PUBLIC])
    }
  })

  it('beside those to a range that is allowed', () => {
    for (const one of by('with a range allowed')) {
      assert.deepEqual(harmful(one, [PUBLIC, ALLOWED]), [], `${one.way} ${one.host}`)
      if (one.host === ALLOWED) assert.deepEqual(one.dialled, [ALLOWED])
    }
  })

  it('anywhere, where anything may be dialled', () => {
    for (const one of by('that may dial anything')) {
      if (!/mixed|rebind|localhost/.test(one.host))
        assert.equal(one.dialled.length, 1, `${one.way} ${one.host}`)
    }
  })
})
