/** Where signatures come from, and who is asked for them: published trees, upstreams, users. */
import assert from 'node:assert/strict'
import { createUpstreams } from '../../src/upstream/index.ts'
import { basic, pushAs, startAuthServer } from '../support/auth.ts'
import { ociClient } from '../support/oci-client.ts'
import { startPullThrough } from '../support/pull-through-bed.ts'
import {
  type RegistryServer,
  type RegistryServerOptions,
  startRegistryServer
} from '../support/registry-server.ts'
import { digestOfImage, openTestSignatures, pushRecorded, writePolicy } from '../support/signed-images.ts'
import { tempFolder } from '../support/temp.ts'

describe('signatures from elsewhere', () => {
  const temp = tempFolder()
  const servers: RegistryServer[] = []
  const policy = writePolicy(
    temp.path,
    `rules:
  - {repositories: ["c/**", "ships.example/**", "docks.example/**", "ipfs/**", "up.example/**"], cosign: ours.pub}`
  )
  const policed = {
    signatures: (registry: RegistryServer['registry']) => openTestSignatures(registry, policy)
  }
  async function start(options: RegistryServerOptions = {}): Promise<RegistryServer> {
    const started = await startRegistryServer(options)
    servers.push(started)
    return started
  }
  after(async () => {
    for (const each of servers) await each.stop()
    await temp.remove()
  })

  it('images that a domain publishes bring their signatures along', async () => {
    const publisher = await start()
    const server = await start({ ...policed, dns: publisher.dns })
    const client = ociClient(server)
    const status = async (path: string) => (await client.call('GET', `/v2/${path}`)).status
    const pushing = ociClient(publisher)
    for (const image of ['tagged', 'bundled', 'unsigned'] as const)
      await pushRecorded(pushing, `ships.example/${image}`, image)
    const root = await publisher.publish('ships.example')
    for (const place of ['ships.example', `ipfs/${root}`]) {
      assert.equal(await status(`${place}/tagged/manifests/1`), 200)
      assert.equal(await status(`${place}/bundled/manifests/1`), 200)
      assert.equal(await status(`${place}/unsigned/manifests/1`), 403)
    }
  })

  it('what a domain publishes is signed there, though it has a tree of its own here', async () => {
    const publisher = await start()
    const server = await start({ ...policed, dns: publisher.dns })
    const client = ociClient(server)
    await pushRecorded(client, 'docks.example/app', 'theirs', { tags: () => false })
    await pushRecorded(ociClient(publisher), 'docks.example/app', 'bundled')
    await publisher.publish('docks.example')
    // that nothing was published before is forgotten
    await server.restart()
    const path = `/v2/docks.example/app/manifests/${digestOfImage('bundled')}`
    const { status, body } = await client.call('GET', path)
    assert.equal(status, 200, body.toString())
  })

  it('who may push may have by digest what is to be signed; a refusal is in the audit log', async () => {
    const rules =
      'rules:\n  - {who: alice, repositories: "**", can: push}\n  - {who: bob, repositories: "**", can: pull}'
    const users = { alice: 'a', bob: 'b' }
    const asked = await startAuthServer({ users, rules, server: policed })
    try {
      const { digest } = await pushAs(asked, basic('alice', 'a'), 'c/app', '1')
      const status = async (user: keyof typeof users, reference: string) =>
        (await asked.as(basic(user, users[user]), 'GET', `/v2/c/app/manifests/${reference}`)).status
      assert.equal(await status('alice', digest), 200)
      assert.equal(await status('alice', '1'), 403)
      assert.equal(await status('bob', digest), 403)
      const [line] = asked.audited().filter(({ event, who }) => event === 'refused' && who === 'bob')
      assert.match(String(line?.['why']), /rule 1 of the gateway's signature policy/)
      assert.equal(line?.['repository'], 'c/app')
    } finally {
      await asked.stop()
    }
  })

  it('images of an upstream are looked up there with their signatures, by any of its names', async () => {
    const there = await start()
    const pushing = ociClient(there)
    for (const image of ['tagged', 'bundled', 'unsigned'] as const) await pushRecorded(pushing, image, image)
    const upstreams = createUpstreams({
      settings: new Map([
        ['up.example', { off: false, urls: [`http://${there.host}`], aliases: ['alias.example'] }]
      ]),
      auth: '',
      standard: 'up.example',
      ttlMs: 3_600_000,
      timeoutMs: 3000,
      allowDial: 'any'
    })
    const through = ociClient(await start({ ...policed, upstreams }))
    const status = async (path: string) => (await through.call('GET', `/v2/${path}`)).status
    for (const prefix of ['up.example/', 'alias.example/', 'proxy/up.example/', '']) {
      assert.equal(await status(`${prefix}tagged/manifests/1`), 200, prefix)
      assert.equal(await status(`${prefix}bundled/manifests/1`), 200, prefix)
      assert.equal(await status(`${prefix}unsigned/manifests/1`), 403, prefix)
    }
    upstreams.stop()
  })

  it('where an upstream fails to say, it is the source that failed', async () => {
    const bed = await startPullThrough({ server: policed })
    try {
      bed.there.image('app', '1', ['a layer'])
      bed.there.fault = (req, res) => {
        if (!/referrers|sha256-/.test(req.url ?? '')) return false
        res.writeHead(500).end()
        return true
      }
      const { code, body } = await bed.get('up.example/app/manifests/1', 502)
      assert.equal(code, 'SOURCE_FAILED')
      assert.match(body.toString(), /whether it is signed can't be found out/)
      bed.there.fault = undefined
      await bed.get('up.example/app/manifests/1', 403)
    } finally {
      await bed.stop()
    }
  })
})
