/**
 * Publishing with the real programs: named as the zone's primary and as its secondary, unbound as a resolver.
 * A push becomes pullable elsewhere, and nobody touches a record.
 */
import assert from 'node:assert/strict'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type Client, skopeo } from './support/clients.ts'
import { freePort, waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { startUnbound, type Unbound } from './support/unbound.ts'
import { repository } from './support/wire.ts'

describe('publishing', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('publish')
  let bind: Bind
  let secondary: Bind
  let unbound: Unbound
  let client: Client
  const images: Image[] = []
  /** Publishes ships.example by itself; `publisher` has nothing but a name server. */
  let publisher: SeawayGateway
  let puller: SeawayGateway
  /** `rfc2136?…` for the primary. */
  let way: string

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen', 'unbound', 'skopeo')) this.skip()
    const notify = await freePort()
    const zones = { 'ships.example': [], 'docks.example': [], 'piers.example': [] }
    bind = keep(await startBind({ dir: folder('primary'), zones, updateKey: 'seaway', notify: [notify] }))
    const primary = { port: bind.port, zones: Object.keys(zones) }
    secondary = keep(await startBind({ dir: folder('secondary'), zones: {}, port: notify, primary }))
    // the resolver asks the secondary alone: what it sees has passed from the one to the other
    const stubs = Object.fromEntries(Object.keys(zones).map((zone) => [zone, secondary.port]))
    unbound = keep(await startUnbound({ dir: folder('unbound'), zones: stubs }))
    client = await skopeo({ dir: folder('skopeo') })
    for (const tag of ['1', '2'])
      images.push(
        await makeImage({
          dir: folder(`image-${tag}`),
          name: `app:${tag}`,
          layers: [{ size: 300_000, seed: tag }]
        })
      )
    way = `rfc2136?server=${bind.server}&key=${encodeURIComponent(bind.key?.file ?? '')}`
    publisher = await gateway('publisher', {
      dns: unbound.server,
      env: { SEAWAY_PUBLISHERS: `ships.example=${way}&ttl=1`, SEAWAY_PUBLISH_AFTER: '200ms' }
    })
    puller = await gateway('puller', { dns: unbound.server })
  })

  const published = async (): Promise<string> => (await publisher.lines()).join('\n')
  const pullable = (tag: string): Promise<void> =>
    waitFor(`tag ${tag} at the other gateway`, async (signal) => {
      const answer = await repository(puller.url, 'ships.example/app').getManifest(tag, signal)
      return answer.status === 200
    })

  it('push, update, secondary, resolver, pull: with no hand on a record', async () => {
    await client.push(images[0] as Image, `${publisher.host}/ships.example/app:1`)
    await pullable('1')
    const root = await publisher.root('ships.example')
    assert.deepEqual(await secondary.dig('_dnslink.ships.example'), [`"dnslink=/ipfs/${root}"`])
    assert.match(
      await published(),
      new RegExp(`ships.example is published at root ${root} by an RFC 2136 update`)
    )
    assert.deepEqual((await client.pull(`${puller.host}/ships.example/app:1`)).diffIds, images[0]?.diffIds)
  })

  it('a new tag is pulled elsewhere as soon as the resolver lets go of the old root', async () => {
    await client.push(images[1] as Image, `${publisher.host}/ships.example/app:2`)
    await pullable('2')
    assert.deepEqual((await client.pull(`${puller.host}/ships.example/app:2`)).diffIds, images[1]?.diffIds)
  })

  it('says that DNS agrees, in every form, and changes nothing then', async () => {
    const seen = await publisher.seaway(['publish', 'ships.example', '--wait', '30s'])
    assert.match(seen.stdout, /DNS agrees already, nothing was changed/)
    assert.match(seen.stdout, /127\.0\.0\.1:\d+ +sees it/)
    const json = JSON.parse((await publisher.seaway(['publish', 'ships.example', '--json'])).stdout)
    assert.equal(json.outcome, 'unchanged')
    assert.equal(json.root, await publisher.root('ships.example'))
    assert.deepEqual(
      json.servers.map((each: { agrees: boolean }) => each.agrees),
      [true]
    )
    const zone = await publisher.seaway(['publish', 'ships.example', '--format', 'zone'])
    assert.match(
      zone.stdout,
      /^_dnslink\.ships\.example\. 1 IN TXT "dnslink=\/ipfs\/bafy\w+"\nships\.example\. 1 IN TXT "ipfsnode=/
    )
    // the lines are a zone file's: named itself takes them
    await bind.setLines(
      'docks.example',
      zone.stdout
        .trim()
        .split('\n')
        .map((line) => line.replaceAll('ships', 'docks'))
    )
  })

  it('works for a command alone too, with the addresses that the gateway announced', async () => {
    const alone = await gateway('alone', { dns: unbound.server, env: { SEAWAY_PUSH_BASE: 'empty' } })
    await client.push(images[0] as Image, `${alone.host}/docks.example/app:1`)
    const root = await alone.root('docks.example')
    const shown = JSON.parse((await alone.seaway(['publish', 'docks.example', '--json', '--force'])).stdout)
    assert.equal(shown.outcome, 'printed')
    await alone.stop()
    const refused = await alone.seaway(['publish', 'docks.example', '--dns', way], { allowFailure: true })
    assert.equal(refused.status, 1)
    assert.match(refused.stderr, /does not descend from.*seaway sync docks\.example/)
    const done = JSON.parse(
      (await alone.seaway(['publish', 'docks.example', '--dns', way, '--force', '--json', '--wait', '30s']))
        .stdout
    )
    assert.equal(done.outcome, 'published')
    assert.deepEqual(await bind.dig('_dnslink.docks.example'), [`"dnslink=/ipfs/${root}"`])
    const peers = (await bind.dig('docks.example')).join('\n')
    for (const peer of alone.peers) assert.ok(peers.includes(peer), peers)
  })

  it('wrong key, wrong zone, and no server: a line that says what to do, and exit 1', async () => {
    const text = await readFile(bind.key?.file ?? '', 'utf8')
    const wrong = folder('wrong.key')
    await writeFile(
      wrong,
      text.replace(/secret "[^"]+"/, `secret "${Buffer.alloc(32, 1).toString('base64')}"`)
    )
    const fails = async (dns: string): Promise<string> => {
      const { status, stderr } = await publisher.seaway(
        ['publish', 'ships.example', '--dns', dns, '--ttl', '2', '--force'],
        {
          allowFailure: true
        }
      )
      assert.equal(status, 1)
      return stderr
    }
    assert.match(
      await fails(`rfc2136?server=${bind.server}&key=${wrong}`),
      /^seaway: the name server .* refused the key seaway: BADSIG.*\n$/
    )
    assert.match(
      await fails(`rfc2136?server=127.0.0.1:${await freePort()}&key=${bind.key?.file}`),
      /could not be reached/
    )
    assert.match(
      await fails(`rfc2136?server=${secondary.server}&key=${bind.key?.file}`),
      /BADKEY|NOTAUTH|REFUSED/
    )
    await client.push(images[1] as Image, `${publisher.host}/piers.example/other:1`)
    const zone = await publisher.seaway(
      ['publish', 'piers.example', '--dns', `${way}&zone=ships.example`, '--force'],
      {
        allowFailure: true
      }
    )
    assert.match(zone.stderr, /zone ships\.example: NOTZONE/)
    const usage = await publisher.seaway(['publish', 'ships.example', '--dns', 'rfc2136?sever=x'], {
      allowFailure: true
    })
    assert.match(usage.stderr, /no option "sever"/)
  })

  it('--exec gets the values in its environment; its status and its deadline are told', async () => {
    const script = folder('publish.sh')
    await writeFile(script, '#!/bin/sh\nenv | grep ^PUBLISH_ | sort > "$0.out"\n')
    await chmod(script, 0o755)
    await publisher.seaway(['publish', 'ships.example', '--exec', script, '--ttl', '7'])
    // DNS agrees but for its TTL, so there is nothing to carry
    await assert.rejects(readFile(`${script}.out`), /ENOENT/)
    await client.push(images[0] as Image, `${publisher.host}/piers.example/more:1`)
    const ran = await publisher.seaway(['publish', 'piers.example', '--exec', './publish.sh', '--force'], {
      cwd: folder('.')
    })
    const values = Object.fromEntries(
      (await readFile(`${script}.out`, 'utf8')).split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2))
    )
    const root = await publisher.root('piers.example')
    assert.match(ran.stdout, /by the command/)
    assert.equal(values.PUBLISH_ROOT, root)
    assert.equal(values.PUBLISH_DNSLINK_NAME, '_dnslink.piers.example')
    assert.equal(values.PUBLISH_DNSLINK_VALUE, `dnslink=/ipfs/${root}`)
    assert.match(values.PUBLISH_IPFSNODE_VALUE ?? '', /^ipfsnode=\[/)
    const failed = await publisher.seaway(
      ['publish', 'piers.example', '--force', '--exec', 'echo no such provider; exit 3'],
      {
        allowFailure: true
      }
    )
    assert.equal(failed.status, 1)
    assert.match(failed.stderr, /ended with status 3; it said: no such provider/)
  })

  it('a failure is printed and tried again, and what was pushed meanwhile is published in the end', async () => {
    const before = (await published()).length
    await bind.stop()
    await client.push(images[0] as Image, `${publisher.host}/ships.example/later:1`)
    await waitFor('the failure to be printed', async () =>
      /ships\.example could not be published \(tried again in \d+ s\): the name server/.test(
        (await published()).slice(before)
      )
    )
    await bind.restart()
    const root = await publisher.root('ships.example')
    await waitFor('the root in DNS', async () =>
      (await bind.dig('_dnslink.ships.example')).includes(`"dnslink=/ipfs/${root}"`)
    )
  })

  it('a restarted gateway publishes what it had not', async () => {
    const quiet = { SEAWAY_PUBLISHERS: `piers.example=${way}&ttl=1`, SEAWAY_PUBLISH_AFTER: '1h' }
    const first = await gateway('late', { dns: unbound.server, env: quiet })
    await client.push(images[1] as Image, `${first.host}/piers.example/late:1`)
    const root = await first.root('piers.example')
    await first.stop()
    const second = await gateway('late', {
      dns: unbound.server,
      env: { ...quiet, SEAWAY_PUBLISH_AFTER: '100ms' }
    })
    await waitFor('the root to be published', async () =>
      (await second.lines()).some((line) => line.includes(`piers.example is published at root ${root}`))
    )
    // the same root at another port: nothing was pushed
    await second.stop()
    const env = {
      ...quiet,
      SEAWAY_PUBLISH_AFTER: '100ms',
      SEAWAY_SWARM_LISTEN: `/ip4/127.0.0.1/tcp/${await freePort()}`
    }
    const third = await gateway('late', { dns: unbound.server, env })
    assert.notDeepEqual(third.peers, second.peers)
    await waitFor('the new address in DNS', async () =>
      (await bind.dig('piers.example')).some((text) => text.includes(third.peers[0] ?? 'none'))
    )
  })
})
