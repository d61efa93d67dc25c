/**
 * Name servers, records and roots that are of no use: a client and `doctor` are told what is wrong, and the gateway
 * goes on.
 */
import assert from 'node:assert/strict'
import { connectControl, controlPath } from '../../src/cli/control.ts'
import { parseImageOfDomain } from '../../src/oci/reference.ts'
import type { Diagnosis } from '../../src/registry/index.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { useBed } from './support/bed.ts'
import { type BlockServer, startBlockServer } from './support/block-server.ts'
import type { SeawayGateway } from './support/gateway.ts'
import type { Hostile } from './support/hostile.ts'
import { FORBIDDEN, HOSTILE_RECORDS } from './support/hostile-records.ts'
import { HOSTILE_SERVERS } from './support/hostile-servers.ts'
import { type Refusal, refusalOf, repository } from './support/wire.ts'

/** So many domains are looked at at a time: most of them are about waiting. */
const AT_ONCE = 6

describe('bad input from DNS', function () {
  this.timeout(120_000)
  const { keep, gateway } = useBed('dns-bad')
  const env = {
    SEAWAY_DNS_TIMEOUT: '2s',
    SEAWAY_DIAL_TIMEOUT: '4s',
    SEAWAY_BLOCK_TIMEOUT: '4s',
    SEAWAY_PULL_TIMEOUT: '30s'
  }
  const seen = new Map<Hostile, { refusal: Refusal; diagnosis: Diagnosis }>()
  let dns: DnsServer
  let blocks: BlockServer
  let a: SeawayGateway
  let domains = 0

  before(async () => {
    dns = keep(await startDnsServer())
    blocks = keep(await startBlockServer())
    a = await gateway('a', { dns: dns.address, env })
  })

  /** Makes a domain of each row, and asks for an image of it and for a diagnosis. */
  async function look(rows: readonly Hostile[], at: SeawayGateway): Promise<void> {
    const operations = await connectControl(controlPath(at.data))
    const left = rows.values()
    const worker = async (): Promise<void> => {
      for (const row of left) {
        const domain = `d${domains++}.test`
        row.set(domain, { dns, blocks })
        const call = { signal: AbortSignal.timeout(60_000), progress: () => {} }
        const [refusal, diagnosis] = await Promise.all([
          repository(at.url, `${domain}/app`).getManifest('1').then(refusalOf),
          operations?.doctor(parseImageOfDomain(domain), call)
        ])
        if (diagnosis !== undefined) seen.set(row, { refusal, diagnosis })
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
  }

  /** Checks what was answered for a row. */
  function check(row: Hostile): Refusal {
    const { refusal, diagnosis } = seen.get(row) ?? assert.fail('it was not looked at')
    assert.deepEqual([refusal.status, refusal.code], [row.status, row.code], refusal.message)
    for (const words of row.says) assert.match(refusal.message, words)
    const failed = diagnosis.steps.find(({ step }) => step === diagnosis.failed)
    const texts = [failed?.trouble?.why, ...(failed?.parts ?? []).map(({ says }) => says)]
    const words = row.doctor ?? row.says[0] ?? assert.fail('nothing to look for')
    assert.ok(
      texts.some((text) => words.test(text ?? '')),
      `doctor does not say ${words}: ${JSON.stringify(diagnosis, undefined, 1)}`
    )
    assert.ok(failed?.trouble?.remedy, 'doctor says what mends it')
    return refusal
  }

  describe('a server that gives', () => {
    before(() => look(HOSTILE_SERVERS, a))
    for (const row of HOSTILE_SERVERS)
      it(`${row.what}: ${row.status} ${row.code}`, () => {
        const { message } = check(row)
        if (/SEAWAY_DNS_SERVERS/.test(message)) assert.ok(message.includes(dns.address), message)
      })
  })

  describe('a domain with', () => {
    before(() => look(HOSTILE_RECORDS, a))
    for (const row of HOSTILE_RECORDS)
      it(`${row.what}: ${row.status} ${row.code}`, () => {
        check(row)
      })
  })

  describe('a gateway that others reach', () => {
    before(async () => {
      // an address of loopback that doesn't look like one, so that the gateway takes itself for public
      const open = { ...env, SEAWAY_LISTEN: '[::ffff:127.0.0.1]:0', SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes' }
      const b = await gateway('b', { dns: dns.address, env: open })
      await look(FORBIDDEN, b)
      await b.stop()
    })
    for (const row of FORBIDDEN)
      it(`does not dial ${row.what}`, () => {
        check(row)
      })
  })

  describe('and then', () => {
    it('the gateway works as before, and nothing went wrong inside', async () => {
      const good = await gateway('good')
      await repository(good.url, 'good.test/app').putImage('1', Buffer.from('layer'))
      dns.setTxt('_dnslink.good.test', [`dnslink=/ipfs/${await good.root('good.test')}`])
      dns.setTxt('good.test', [`ipfsnode=${JSON.stringify(good.peers)}`])
      assert.equal((await repository(a.url, 'good.test/app').getManifest('1')).status, 200)
      const codes = new Set((await a.logged()).map(({ code }) => code))
      assert.ok(codes.has('SOURCE_FAILED'))
      assert.ok(!codes.has('UNKNOWN'))
    })
  })
})
