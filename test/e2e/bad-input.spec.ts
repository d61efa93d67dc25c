/** What is wrong before any peer is asked: records, digests, settings, a folder that is taken. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { skopeo } from './support/clients.ts'
import { gatewayEnv, runSeaway, type SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { digestOf, refusalOf, repository } from './support/wire.ts'

const ROOT = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'

describe('bad input', function () {
  this.timeout(60_000)
  const { folder, keep, gateway } = useBed('bad')
  const env = { SEAWAY_DIAL_TIMEOUT: '1s', SEAWAY_BLOCK_TIMEOUT: '1s', SEAWAY_PULL_TIMEOUT: '5s' }
  let a: SeawayGateway

  describe('in records', () => {
    let bind: Bind

    before(async function () {
      if (!available('skopeo', 'named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
      bind = keep(await startBind({ dir: folder('named'), zones: { 'bad.example': [] } }))
      a = await gateway('a', { dns: bind.server, env })
      await bind.setTxt('bad.example', {
        other: 'v=spf1 -all',
        '_dnslink.garbage': 'dnslink=/ipfs/not-a-cid',
        garbage: 'ipfsnode=["/ip4/127.0.0.1/tcp/1"]',
        '_dnslink.loop': 'dnslink=/ipns/loop.bad.example',
        '_dnslink.nodes': `dnslink=/ipfs/${ROOT}`,
        nodes: 'ipfsnode=["/ip4/127.0.0.1/tcp/',
        '_dnslink.nobody': `dnslink=/ipfs/${ROOT}`
      })
    })

    const refusal = async (domain: string): Promise<Awaited<ReturnType<typeof refusalOf>>> =>
      refusalOf(await repository(a.url, `${domain}/app`).getManifest('1'))

    it('that do not exist: 404 with the names that were looked for, which skopeo shows', async () => {
      for (const domain of ['none.bad.example', 'other.bad.example']) {
        const { status, code, message } = await refusal(domain)
        assert.deepEqual([status, code], [404, 'NAME_UNKNOWN'])
        assert.ok(message.includes(`_dnslink.${domain}`), message)
        assert.match(message, new RegExp(`[^.]${domain.replaceAll('.', String.raw`\.`)}`))
      }
      const client = await skopeo({ dir: folder('skopeo') })
      const pull = client.pull(`${a.host}/none.bad.example/app:1`)
      await assert.rejects(pull, /_dnslink\.none\.bad\.example/)
    })

    it('that do not parse: the record, and what is wrong with it', async () => {
      const garbage = await refusal('garbage.bad.example')
      assert.ok(garbage.status >= 400, `${garbage.status}`)
      assert.match(garbage.message, /_dnslink\.garbage\.bad\.example/)
      assert.match(garbage.message, /not-a-cid/)
      const nodes = await refusal('nodes.bad.example')
      assert.equal(nodes.status, 502)
      assert.match(nodes.message, /ipfsnode/)
    })

    it('that lead in a circle, or to nobody', async () => {
      assert.match((await refusal('loop.bad.example')).message, /loop\.bad\.example/)
      const { status, message } = await refusal('nobody.bad.example')
      assert.equal(status, 502)
      assert.match(message, /no usable ipfsnode=/)
    })
  })

  describe('of clients', () => {
    it('with a digest that is not that of the content: 400, and no trace', async () => {
      const b = await gateway('b')
      const repo = repository(b.url, 'app')
      const bytes = Buffer.concat([...randomBytes(3_000_000, 'wrong')])
      const wrong = await digestOf(Buffer.from('something else'))
      const location = await repo.begin()
      await repo.append(location, bytes.subarray(0, 2_000_000))
      const refused = await refusalOf(await repo.finish(location, wrong, bytes.subarray(2_000_000)))
      assert.deepEqual([refused.status, refused.code], [400, 'DIGEST_INVALID'])
      for (const digest of [wrong, await digestOf(bytes)]) {
        const answer = await refusalOf(await repo.getBlob(digest))
        assert.deepEqual([answer.status, answer.code], [404, 'BLOB_UNKNOWN'])
      }
      assert.equal((await refusalOf(await fetch(location))).code, 'BLOB_UPLOAD_UNKNOWN')
      assert.deepEqual(await readdir(join(b.data, 'incoming')), [])
      const files = await Promise.all(
        (await readdir(join(b.data, 'blobs'))).map((part) => readdir(join(b.data, 'blobs', part)))
      )
      assert.deepEqual(files.flat(), [])
    })

    it('that names what is not there: 404 with its code', async () => {
      const b = await gateway('b2')
      await repository(b.url, 'app').putImage('1', Buffer.from('layer'))
      const absent = `sha256:${'0'.repeat(64)}`
      const ask = async (answer: Promise<Response>): Promise<unknown[]> => {
        const { status, code } = await refusalOf(await answer)
        return [status, code]
      }
      assert.deepEqual(await ask(repository(b.url, 'app').getManifest('2')), [404, 'MANIFEST_UNKNOWN'])
      assert.deepEqual(await ask(repository(b.url, 'app').getBlob(absent)), [404, 'BLOB_UNKNOWN'])
      assert.deepEqual(await ask(repository(b.url, 'other').getManifest('1')), [404, 'MANIFEST_UNKNOWN'])
      assert.deepEqual(await ask(repository(b.url, 'UPPER').getManifest('1')), [400, 'NAME_INVALID'])
      assert.deepEqual(await ask(repository(b.url, 'app').getBlob('sha256:12')), [400, 'DIGEST_INVALID'])
    })
  })

  describe('of operators', () => {
    it('a second process on a data folder says so in one line and ends with 1; the first goes on', async () => {
      const first = await gateway('first')
      const { status, stderr } = await runSeaway(['serve'], gatewayEnv(first.data), { allowFailure: true })
      assert.equal(status, 1)
      assert.match(stderr, /^seaway: [^\n]*(another|already)[^\n]*\n$/)
      assert.ok(stderr.includes(first.data), stderr)
      await repository(first.url, 'app').putImage('1', Buffer.from('layer'))
      assert.equal((await first.root('local')).slice(0, 4), 'bafy')
    })

    const bad: [variable: string, value: string, says: RegExp][] = [
      ['SEAWAY_LISTEN', 'somewhere', /SEAWAY_LISTEN is 'somewhere'/],
      ['SEAWAY_LISTEN', '0.0.0.0:0', /SEAWAY_ALLOW_ANONYMOUS_PUSH/],
      ['SEAWAY_DIAL_TIMEOUT', 'soon', /SEAWAY_DIAL_TIMEOUT is 'soon'.*30s/],
      ['SEAWAY_ROUTING', 'maybe', /SEAWAY_ROUTING is 'maybe'.*public, none/],
      ['SEAWAY_DNS_SERVERS', 'not a server', /SEAWAY_DNS_SERVERS is 'not a server'/],
      ['SEAWAY_SWARM_LISTEN', 'tcp', /SEAWAY_SWARM_LISTEN is 'tcp'/],
      ['SEAWAY_LISTENN', 'x', /SEAWAY_LISTENN is not a setting/]
    ]
    for (const [variable, value, says] of bad) {
      it(`${variable}=${value}: says what is allowed in one line, and ends with 2`, async () => {
        const settings = gatewayEnv(folder('settings'), undefined, { [variable]: value })
        const { status, stderr, stdout } = await runSeaway(['serve'], settings, {
          allowFailure: true,
          timeout: 20_000
        })
        assert.match(stderr, says)
        assert.match(stderr, /^seaway: [^\n]+\n$/)
        assert.equal(status, 2)
        assert.equal(stdout, '')
      })
    }

    it('an unknown command or flag ends with 2; a root that is not there with 1', async () => {
      const env = gatewayEnv(folder('none'))
      const status = async (...args: string[]): Promise<number> =>
        (await runSeaway(args, env, { allowFailure: true })).status
      assert.equal(await status('sail'), 2)
      assert.equal(await status('serve', '--fast'), 2)
      assert.equal(await status('root'), 2)
      assert.equal(await status('root', 'nothing.example'), 1)
    })
  })
})
