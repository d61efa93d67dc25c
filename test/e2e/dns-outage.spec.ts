/**
 * DNS that goes away in mid-use, in each way in which it does with real servers: nobody there (named stopped),
 * silence (named frozen), and a resolver that can't reach the zone's server any more (unbound, SERVFAIL).
 */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { startUnbound, type Unbound } from './support/unbound.ts'
import { refusalOf, repository } from './support/wire.ts'

const DOMAIN = 'ships.example'

describe('DNS outage in mid-use', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('outage')
  const env = { SEAWAY_DNS_TIMEOUT: '4s', SEAWAY_LOG_LEVEL: 'info' }
  let bind: Bind
  let unbound: Unbound
  let publisher: SeawayGateway
  let tags = 0

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen', 'unbound')) this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { [DOMAIN]: [] } }))
    unbound = keep(await startUnbound({ dir: folder('unbound'), zones: { [DOMAIN]: bind.port } }))
    publisher = await gateway('publisher')
  })

  /** Pushes one more tag, and puts the records that the gateway printed into the zone, with a TTL of a second. */
  async function publish(): Promise<string> {
    const tag = `v${++tags}`
    await repository(publisher.url, `${DOMAIN}/app`).putImage(tag, Buffer.from(tag))
    const lines = await publisher.records(DOMAIN)
    await bind.setLines(
      DOMAIN,
      lines.map((line) => line.replace(/ \d+ IN TXT/, ' 1 IN TXT'))
    )
    return tag
  }

  const status = async (of: SeawayGateway, tag: string): Promise<number> =>
    (await repository(of.url, `${DOMAIN}/app`).getManifest(tag)).status
  const said = async (of: SeawayGateway, text: string): Promise<Record<string, unknown>[]> =>
    (await of.logged()).filter(({ msg }) => msg === text)

  const ways: [what: string, server: () => string, stop: () => Promise<void>, start: () => Promise<void>][] =
    [
      ['named is stopped', () => bind.server, () => bind.stop(), () => bind.restart()],
      [
        'named is frozen',
        () => bind.server,
        async () => bind.daemon.kill('SIGSTOP'),
        async () => bind.daemon.kill('SIGCONT')
      ],
      ["unbound can't reach named", () => unbound.server, () => bind.stop(), () => bind.restart()]
    ]
  for (const [i, [what, server, stop, start]] of ways.entries())
    it(`${what}: known domains go on being pulled, and the new root is seen when it is back`, async () => {
      const first = await publish()
      let b = await gateway(`puller-${i}`, { dns: server(), env })
      assert.equal(await status(b, first), 200)

      await stop()
      try {
        // until the answer has run out and the outage is noticed
        await waitFor('the last good answer to be used', async () => {
          assert.equal(await status(b, first), 200)
          return (await said(b, 'the last good DNS answer is used')).length > 0
        })
        const [stale] = await said(b, 'the last good DNS answer is used')
        assert.deepEqual([stale?.domain, stale?.root], [DOMAIN, await publisher.root(DOMAIN)])

        // a domain that was never resolved is named with its server, and so is a tag that isn't known
        const { code, message } = await refusalOf(
          await repository(b.url, `other.${DOMAIN}/app`).getManifest('1')
        )
        assert.match(code, /^SOURCE_/)
        assert.ok(message.includes(server()), message)
        assert.match(message, /SEAWAY_DNS_SERVERS/)

        if (i === 0) {
          // a gateway that is started during the outage knows as much as the one before it
          await b.stop()
          b = await gateway(`puller-${i}`, { dns: server(), env })
          assert.equal(await status(b, first), 200)
        }
      } finally {
        await start()
      }

      const second = await publish()
      const since = Date.now()
      await waitFor('the new root', async () => (await status(b, second)) === 200)
      const after = Date.now() - since
      await waitFor('the end of the outage to be logged', async () =>
        (await said(b, 'DNS answers for the domain again')).some(({ domain }) => domain === DOMAIN)
      )
      console.log(`      the new root was there ${after} ms after it was published, with a TTL of 1 s`)
      await b.stop()
    })
})
