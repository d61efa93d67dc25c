/**
 * The test bed itself: every peer that the end-to-end tests rely on does here, against Debian's own
 * docker-registry and named, what they rely on it for. When this fails, look at the machine; when only
 * the others fail, look at Seaway.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bind, startBind } from './support/bind.ts'
import { buildah, type Client, crane, ctr, docker, oras, podman, regctl, skopeo } from './support/clients.ts'
import { type Containerd, startContainerd } from './support/containerd.ts'
import { spawnDaemon, waitFor } from './support/daemon.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import { busyboxLayer, type Image, makeImage } from './support/images.ts'
import { startKubo } from './support/kubo.ts'
import { available, run, tempDir } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'

const MANIFESTS = ['oci.image.index.v1', 'oci.image.manifest.v1', 'docker.distribution.manifest.v2']
  .map((kind) => `application/vnd.${kind}+json`)
  .join(',')

describe('the test bed', function () {
  this.timeout(60_000)
  const temp = tempDir('peers')
  const running: { stop(): Promise<void> }[] = []
  const folder = (name: string): string => join(temp.path, name)
  const keep = <T extends { stop(): Promise<void> }>(handle: T): T => {
    running.push(handle)
    return handle
  }
  let base: Image
  let image: Image

  before(async () => {
    base = await makeImage({
      dir: folder('base'),
      name: 'base:1',
      layers: [busyboxLayer(), { size: 2_000_000, seed: 'base' }]
    })
    image = await makeImage({
      dir: folder('app'),
      name: 'app:1',
      base,
      layers: [{ files: { 'hello.txt': 'hello from a layer\n' } }, { size: 3_000_000, seed: 'app' }],
      platforms: ['linux/amd64', 'linux/arm64']
    })
  })

  after(async () => {
    for (const handle of running.toReversed()) await handle.stop()
    await temp.remove()
  })

  describe('images', () => {
    it('have the same digests whenever they are made, and share the layers of their base', async () => {
      const again = await makeImage({
        dir: folder('again'),
        name: 'base:1',
        layers: [busyboxLayer(), { size: 2_000_000, seed: 'base' }]
      })
      assert.equal(again.top.digest, base.top.digest)
      assert.deepEqual(image.layers.slice(0, 2), base.layers)
      assert.equal(image.manifests.length, 2)
    })
  })

  describe('docker-registry', () => {
    let registry: Registry
    let engine: DockerEngine
    let containerd: Containerd

    before(async function () {
      if (!available('docker-registry')) this.skip()
      registry = keep(await startRegistry({ dir: folder('registry') }))
    })

    /** Push by one client, pull into a clean place by the same one, both images; what arrived is what was made. */
    async function roundTrip(client: Client): Promise<void> {
      for (const each of [base, image]) {
        const repository = `example.com/${client.name}/${each.name.split(':')[0]}`
        await client.push(each, `${registry.host}/${repository}:1`)
        const url = `${registry.url}/v2/${repository}/manifests/1`
        const digest = (await fetch(url, { headers: { accept: MANIFESTS } })).headers.get(
          'docker-content-digest'
        )
        if (client.keepsDigest) assert.equal(digest, each.top.digest)
        assert.deepEqual((await client.pull(`${registry.host}/${repository}:1`)).diffIds, each.diffIds)
      }
    }

    for (const make of [skopeo, podman, buildah, crane, oras, regctl]) {
      it(`round-trips images by ${make.name}`, async function () {
        const client = await make({ dir: folder(make.name) })
        if (!available(...client.needs)) this.skip()
        await roundTrip(client)
        if (make !== podman) return
        const reference = `${registry.host}/example.com/podman/app:1`
        const args = [
          'run',
          '--rm',
          '--pull=never',
          '--network=none',
          '--ulimit=host',
          reference,
          'cat',
          '/hello.txt'
        ]
        assert.equal((await client.run(args)).stdout, 'hello from a layer\n')
      })
    }

    it('round-trips images by docker, and a second engine runs what the first pushed', async function () {
      if (!available('dockerd', 'docker', 'containerd', 'runc')) this.skip()
      engine = keep(await startDocker({ dir: folder('d1') }))
      const other = keep(await startDocker({ dir: folder('d2') }))
      await roundTrip(docker(engine))
      const reference = `${registry.host}/example.com/docker/app:1`
      await other.docker(['pull', '--quiet', reference])
      assert.equal(
        (await other.runContainer(reference, ['cat', '/hello.txt'])).stdout,
        'hello from a layer\n'
      )
    })

    it('round-trips images by ctr, and a mirror serves another name', async function () {
      if (!available('containerd', 'ctr', 'runc')) this.skip()
      containerd = keep(await startContainerd({ dir: folder('c') }))
      const client = ctr(containerd)
      await roundTrip(client)
      await client.push(base, `${registry.host}/mirrored:1`)
      await containerd.setHosts(
        '_default',
        `[host."${registry.url}"]\n  capabilities = ["pull", "resolve"]\n`
      )
      await containerd.ctr(['images', 'pull', '--hosts-dir', containerd.hostsDir, 'peers.test/mirrored:1'])
      const ran = await containerd.runContainer('peers.test/mirrored:1', ['/bin/echo', 'ran'])
      assert.equal(ran.stdout, 'ran\n')
      assert.match(
        await readFile(registry.daemon.logFile, 'utf8'),
        /\/v2\/mirrored\/manifests\/1\?ns=peers\.test/
      )
    })

    it('asks for a password where it has one', async function () {
      if (!available('skopeo', 'htpasswd')) this.skip()
      const user = { name: 'ann', password: 'correct horse' }
      const closed = keep(await startRegistry({ dir: folder('closed'), user }))
      const client = await skopeo({ dir: folder('closed-client') })
      await assert.rejects(client.push(base, `${closed.host}/base:1`), /unauthorized|authentication required/)
      const login = ['login', '--tls-verify=false', '-u', user.name, '--password-stdin', closed.host]
      await client.run(login, { input: user.password })
      await client.push(base, `${closed.host}/base:1`)
    })

    it('leaves no process and no mount of an engine that was killed', async function () {
      if (!engine) this.skip()
      await engine.docker(['load', '--quiet', '--input', await base.archive()])
      await engine.docker(['run', '--detach', '--network', 'none', base.name, 'sleep', '600'])
      engine.daemon.kill('SIGKILL')
      await engine.stop()
      assert.doesNotMatch(await readFile('/proc/self/mounts', 'utf8'), new RegExp(`${engine.dir}/`))
      const { stdout } = await run('ps', ['-eo', 'args'])
      assert.ok(!stdout.includes(`${engine.dir}/`))
    })
  })

  describe('named', () => {
    let bind: Bind

    before(async function () {
      if (!available('named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
      const zones = { 'example.com': [], 'other.test': [{ name: '@', data: 'first' }] }
      bind = keep(await startBind({ dir: folder('named'), zones, updateKey: 'publisher', maxUdpSize: 512 }))
    })

    it('serves TXT records as they change', async () => {
      assert.deepEqual(await bind.dig('other.test'), ['"first"'])
      for (const root of ['bafyone', 'bafytwo', 'bafythree']) {
        await bind.setTxt('example.com', { _dnslink: `dnslink=/ipfs/${root}`, '@': ['a "quoted" one', 'b'] })
        assert.deepEqual(await bind.dig('_dnslink.example.com'), [`"dnslink=/ipfs/${root}"`])
      }
      assert.deepEqual((await bind.dig('example.com')).toSorted(), [String.raw`"a \"quoted\" one"`, '"b"'])
    })

    it('splits long texts, and answers over TCP what is too long for UDP', async () => {
      await bind.setTxt('other.test', { '@': 'x'.repeat(1000) })
      const [line = ''] = await bind.dig('other.test')
      assert.equal(line.split('" "').length, 4)
      assert.equal(line.replaceAll(/[" ]/g, ''), 'x'.repeat(1000))
    })

    it('takes updates that its key signed, and refuses others', async () => {
      const update = (options: string[], text: string): ReturnType<typeof run> =>
        run('nsupdate', options, {
          allowFailure: true,
          input: `server 127.0.0.1 ${bind.port}\nupdate add new.example.com 1 TXT "${text}"\nsend\n`
        })
      assert.notEqual((await update([], 'forged')).status, 0)
      assert.equal((await update(['-k', bind.key?.file ?? ''], 'signed')).status, 0)
      assert.deepEqual(await bind.dig('new.example.com'), ['"signed"'])
      await bind.setTxt('example.com', { '@': 'all replaced' })
      assert.deepEqual(await bind.dig('new.example.com'), [])
    })
  })

  describe('Kubo', () => {
    it('fetches from a node that it was told of, and serves a verifiable archive', async function () {
      if (!available('ipfs')) this.skip()
      const [one, two] = [
        keep(await startKubo({ dir: folder('k1') })),
        keep(await startKubo({ dir: folder('k2') }))
      ]
      const cid = (
        await one.ipfs(['add', '-Q', '--cid-version=1'], { input: randomBytes(2e6) })
      ).stdout.trim()
      await two.ipfs(['swarm', 'connect', one.multiaddr])
      await two.ipfs(['pin', 'add', cid])
      const headers = { accept: 'application/vnd.ipld.car' }
      const archive = await (await fetch(`${two.gateway}/ipfs/${cid}`, { headers })).arrayBuffer()
      assert.ok(archive.byteLength > 2e6)
    })
  })

  describe('processes', () => {
    it('say why a daemon did not start', async () => {
      const args = ['-c', 'echo no such thing as a free port >&2; exit 3']
      const start = spawnDaemon({
        name: 'bad',
        command: 'sh',
        args,
        dir: folder('bad'),
        ready: async () => false
      })
      await assert.rejects(start, /it ended(.|\n)*no such thing as a free port/)
    })

    it('say the end of stderr, stop at the time limit, and give up waiting at the deadline', async () => {
      await assert.rejects(run('sh', ['-c', 'echo why >&2; exit 3']), /exit status 3\nwhy/)
      await assert.rejects(run('sleep', ['60'], { timeout: 50 }), /not done after 50 ms/)
      await assert.rejects(
        waitFor('rain', async () => false, { deadline: 60 }),
        /waited for rain: not after 60 ms/
      )
    })
  })
})
