/**
 * DNS over HTTPS and DNSSEC with the real programs: named signs the zones, unbound validates them, and both
 * answer over HTTPS with a certificate of an authority that nobody else knows.
 */
import assert from 'node:assert/strict'
import { type Certificate, makeCertificate } from './support/authority.ts'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { startUnbound, type Unbound } from './support/unbound.ts'
import { refusalOf, repository } from './support/wire.ts'

describe('DNS over HTTPS, and DNSSEC', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('secure')
  let certificate: Certificate
  let bind: Bind
  let unbound: Unbound
  let publisher: SeawayGateway
  let root: string

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen', 'unbound', 'openssl')) this.skip()
    certificate = await makeCertificate(folder('certificate'))
    const zones = { 'ships.example': [], 'bogus.example': [] }
    bind = keep(await startBind({ dir: folder('named'), zones, certificate, signed: true }))
    await waitFor('the zones to be signed', async () => {
      const signed = Object.keys(zones).map((zone) => bind.dig(zone, 'RRSIG'))
      return (await Promise.all(signed)).every((lines) => lines.some((line) => line.startsWith('SOA ')))
    })
    const keys = async (zone: string): Promise<string[]> =>
      (await bind.dig(zone, 'DNSKEY')).map((key) => `${zone}. DNSKEY ${key}`)
    const ships = await keys('ships.example')
    unbound = keep(
      await startUnbound({
        dir: folder('unbound'),
        zones: { 'ships.example': bind.port, 'bogus.example': bind.port },
        // the second is held against the first one's key, as if somebody had taken it over
        anchors: {
          'ships.example': ships,
          'bogus.example': ships.map((key) => key.replace('ships', 'bogus'))
        },
        certificate
      })
    )
    publisher = await gateway('publisher')
    await repository(publisher.url, 'ships.example/app').putImage('1', Buffer.from('layer'))
    root = await publisher.root('ships.example')
    await bind.setLines('ships.example', await publisher.records('ships.example'))
    await bind.setTxt('bogus.example', { _dnslink: `dnslink=/ipfs/${root}` })
  })

  const trusting = (more: Record<string, string> = {}) => ({
    NODE_EXTRA_CA_CERTS: certificate.ca,
    SEAWAY_LOG_LEVEL: 'info',
    ...more
  })
  /** What the gateway logged when it resolved the domain. */
  const resolved = async (by: SeawayGateway): Promise<Record<string, unknown>> =>
    (await by.logged()).find(({ msg }) => msg === 'the domain was resolved') ?? {}

  for (const [name, server] of [
    ['unbound', () => unbound.https],
    ['named', () => bind.https]
  ] as const)
    it(`an image is pulled by ${name}'s DNS over HTTPS`, async () => {
      const b = await gateway(`by-${name}`, { dns: server(), env: trusting() })
      const answer = await repository(b.url, 'ships.example/app').getManifest('1')
      assert.equal(answer.status, 200, await answer.clone().text())
      const { authenticated, root: found } = await resolved(b)
      assert.deepEqual([authenticated, found], [name === 'unbound', root])
      await b.stop()
    })

  it('a certificate of an authority that is not known is refused, with what to do', async () => {
    const b = await gateway('wary', { dns: unbound.https })
    const { status, code, message } = await refusalOf(
      await repository(b.url, 'ships.example/app').getManifest('1')
    )
    assert.deepEqual([status, code], [502, 'SOURCE_FAILED'])
    assert.ok(message.includes(unbound.https), message)
    assert.match(message, /certificate.*NODE_EXTRA_CA_CERTS/)
    await b.stop()
  })

  it('the DNSSEC status is shown as the resolver gives it, and named where it is bogus', async () => {
    const servers = [unbound.server, unbound.https, bind.server].join(',')
    const b = await gateway('both', { dns: unbound.server, env: trusting() })
    assert.equal((await repository(b.url, 'ships.example/app').getManifest('1')).status, 200)
    assert.equal((await resolved(b)).authenticated, true)
    const bogus = await refusalOf(await repository(b.url, 'bogus.example/app').getManifest('1'))
    assert.deepEqual([bogus.status, bogus.code], [502, 'SOURCE_FAILED'])
    assert.match(bogus.message, /answered SERVFAIL \(.*(DNSSEC|DNSKEY|signature|RRSIG)/)
    await b.stop()

    await publisher.stop()
    const asked = await gateway('publisher', { dns: servers, env: trusting() })
    const { stdout } = await asked.seaway(['publish', 'ships.example', '--json', '--force'])
    assert.deepEqual(
      JSON.parse(stdout).servers.map((each: Record<string, unknown>) => [each.server, each.authenticated]),
      [
        [unbound.server, true],
        [unbound.https, true],
        [bind.server, false]
      ]
    )
    const table = await asked.seaway(['publish', 'ships.example', '--force'])
    assert.equal(table.stdout.match(/validated with DNSSEC/g)?.length, 2, table.stdout)
  })
})
