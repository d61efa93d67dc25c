import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { available } from './support/process.ts'
import { runSealed } from './support/sealed-net.ts'
import { ALLOWED, CASES, type Case, type Outcome } from './support/steering-table.ts'

const MACHINE = fileURLToPath(new URL('support/steering-machine.ts', import.meta.url))

/**
 * Records of strangers that point a gateway at its operator's own network. It runs in a network namespace with every
 * address that it is about on its loopback device and the test's name server as the system's, so what is counted is what
 * was connected to, after every look-up.
 */
describe('where strangers can point a gateway', () => {
  let outcomes: Outcome[] = []

  before(async function () {
    if (!available('ip')) this.skip()
    outcomes = await runSealed<Outcome[]>(MACHINE)
  })

  const of = (gateway: string, one: Case): Outcome => {
    const found = outcomes.find((each) => each.gateway === gateway && each.number === CASES.indexOf(one))
    assert.ok(found !== undefined, `${one.address} was not tried`)
    return found
  }
  const strangers = (one: Case, dialled: readonly string[]) =>
    dialled.filter((ip) => one.harmless?.includes(ip) !== true)

  it('nothing private is dialled beyond loopback, and the client hears of a failure', () => {
    for (const one of CASES) {
      const { dialled, status, text } = of('beyond loopback', one)
      assert.deepEqual(strangers(one, dialled), [], one.address)
      assert.ok([404, 502, 504].includes(status), `${one.address}: ${status} ${text}`)
    }
  })

  it('of private addresses, only those in a range that is allowed are', () => {
    for (const one of CASES) {
      const { dialled } = of('with a range allowed', one)
      const wanted = one.reaches === ALLOWED ? [ALLOWED] : []
      assert.deepEqual(strangers(one, dialled), wanted, one.address)
    }
  })

  it('a gateway that may dial anything does: every one of these records leads somewhere', () => {
    for (const one of CASES) {
      const { dialled, text } = of('that may dial anything', one)
      if (one.reaches !== undefined)
        assert.ok(dialled.includes(one.reaches), `${one.address}: ${dialled} ${text}`)
    }
  })
})
