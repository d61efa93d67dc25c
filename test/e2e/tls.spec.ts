/** The clients over TLS, with an authority of the operator's own. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeCertificate } from './support/authority.ts'
import { useBed } from './support/bed.ts'
import { home } from './support/client.ts'
import { startContainerd } from './support/containerd.ts'
import { startDelegatedRouter } from './support/delegated-router.ts'
import { startDocker } from './support/docker.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { busyboxLayer, type Image, makeImage } from './support/images.ts'
import { startKubo } from './support/kubo.ts'
import { available, run } from './support/process.ts'
import { podman } from './support/storage-clients.ts'

/** An address of this machine that isn't a loopback one: for those docker takes any certificate, or none. */
const ADDRESS = '192.0.2.250'

/** Where docker looks for authorities, whatever it is told. */
const DOCKER_CERTS = '/etc/docker/certs.d'

describe('clients over TLS', function () {
  this.timeout(120_000)
  const { folder, keep, gateway: start } = useBed('tls')
  let gateway: SeawayGateway
  let ca: string
  let image: Image

  before(async () => {
    await run('ip', ['address', 'replace', `${ADDRESS}/32`, 'dev', 'lo'])
    const made = await makeCertificate(folder('ca'), `IP:${ADDRESS}`)
    ca = made.ca
    gateway = await start('gateway', {
      env: {
        SEAWAY_LISTEN: `${ADDRESS}:0`,
        SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes',
        SEAWAY_SEED_LISTEN: `${ADDRESS}:0`,
        SEAWAY_SEED_TLS: 'yes',
        SEAWAY_TLS_CERT: made.cert,
        SEAWAY_TLS_KEY: made.key,
        SEAWAY_LOG_LEVEL: 'info'
      }
    })
    assert.match(gateway.url, /^https:/)
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [busyboxLayer(), { size: 3_000_000, seed: 'tls' }]
    })
  })

  after(async () => {
    await run('ip', ['address', 'delete', `${ADDRESS}/32`, 'dev', 'lo'], { allowFailure: true })
    if (gateway !== undefined) await rm(join(DOCKER_CERTS, gateway.host), { recursive: true, force: true })
  })

  const at = (name: string) => `${gateway.host}/example.com/tls-${name}:1`

  /** A folder as docker, podman and skopeo look for authorities in: `<host>/ca.crt`. */
  async function certsD(dir: string): Promise<string> {
    await mkdir(join(dir, gateway.host), { recursive: true })
    await copyFile(ca, join(dir, gateway.host, 'ca.crt'))
    return dir
  }

  /** Runs a client that knows the authority by its environment, and one that doesn't: that one is refused. */
  async function both(command: string, push: string[], pull: string[]) {
    const env = await home(folder(command))
    const known = { ...env, SSL_CERT_FILE: ca }
    await run(command, push, { env: known })
    const pulled = await run(command, pull, { env: known })
    const stranger = await run(command, pull, {
      env: { ...env, SSL_CERT_FILE: '/dev/null' },
      allowFailure: true
    })
    assert.notEqual(stranger.status, 0)
    assert.match(stranger.stderr, /certificate/)
    return pulled
  }

  it('skopeo pushes and pulls with its certificate folder, and is refused without', async function () {
    if (!available('skopeo')) this.skip()
    const env = await home(folder('skopeo'))
    const certs = join(await certsD(folder('skopeo-certs')), gateway.host)
    const copy = (args: string[], allowFailure = false) =>
      run('skopeo', ['copy', '--all', '--preserve-digests', ...args], { env, allowFailure })
    await copy([`--dest-cert-dir=${certs}`, `oci:${image.layout}`, `docker://${at('skopeo')}`])
    await copy([`--src-cert-dir=${certs}`, `docker://${at('skopeo')}`, `oci:${folder('skopeo-pulled')}:1`])
    const refused = await copy([`docker://${at('skopeo')}`, `oci:${folder('skopeo-none')}:1`], true)
    assert.match(refused.stderr, /certificate signed by unknown authority|x509/)
  })

  it('crane and oras push and pull by HTTP/2, and are refused without the authority', async function () {
    if (!available('crane', 'oras')) this.skip()
    const crane = await both(
      'crane',
      ['push', image.dir, at('crane')],
      ['--verbose', 'pull', '--format', 'oci', at('crane'), folder('crane-pulled')]
    )
    assert.match(crane.stderr, /HTTP\/2.0 200 OK/)
    await both(
      'oras',
      ['cp', '--no-tty', '--from-oci-layout', image.layout, at('oras')],
      ['cp', '--no-tty', at('oras'), '--to-oci-layout', `${folder('oras-pulled')}:1`]
    )
    const lines = (await gateway.logged()).filter(({ msg }) => msg === 'request')
    assert.ok(lines.some(({ method, status }) => method === 'PUT' && status === 201))
    assert.ok(lines.every(({ status }) => Number(status) < 500))
  })

  it('podman pushes and pulls with certs.d', async function () {
    if (!available('podman', 'runc')) this.skip()
    const client = await podman({ dir: folder('podman') })
    const certs = `--cert-dir=${join(await certsD(folder('podman-certs')), gateway.host)}`
    const loaded = (await client.run(['pull', '--quiet', `oci:${image.layout}`])).stdout.trim()
    await client.run(['push', certs, loaded, `docker://${at('podman')}`])
    await client.run(['rmi', '--all', '--force'])
    await client.run(['pull', certs, at('podman')])
    const refused = await client.run(['pull', at('podman')], { allowFailure: true })
    assert.notEqual(refused.status, 0)
  })

  it('containerd pulls with the authority in hosts.toml', async function () {
    if (!available('containerd', 'ctr', 'skopeo')) this.skip()
    const containerd = keep(await startContainerd({ dir: folder('c') }))
    const toml = `server = "${gateway.url}"\n[host."${gateway.url}"]\n  capabilities = ["pull", "resolve"]\n  ca = "${ca}"\n`
    await containerd.setHosts(gateway.host.replace(':', '_'), toml)
    await containerd.setHosts(gateway.host, toml)
    await containerd.ctr(['images', 'pull', '--hosts-dir', containerd.hostsDir, at('skopeo')])
  })

  it('docker pushes and pulls with certs.d, and is refused without', async function () {
    if (!available('docker', 'dockerd', 'containerd', 'runc')) this.skip()
    const engine = keep(await startDocker({ dir: folder('d') }))
    await engine.docker(['load', '--quiet', '--input', await image.archive()])
    await engine.docker(['tag', image.name, at('docker')])
    const refused = await engine.docker(['push', '--quiet', at('docker')], { allowFailure: true })
    assert.match(refused.stderr, /certificate signed by unknown authority|x509/)
    await certsD(DOCKER_CERTS)
    await engine.docker(['push', '--quiet', at('docker')])
    await engine.docker(['rmi', '--force', at('docker'), image.name])
    await engine.docker(['pull', '--quiet', at('docker')])
    const ran = await engine.runContainer(at('docker'), ['/bin/echo', 'ran'])
    assert.equal(ran.stdout, 'ran\n')
  })

  it('peers fetch from the seed port: another gateway, and Kubo without a reverse proxy', async function () {
    if (!available('skopeo', 'ipfs')) this.skip()
    const root = await gateway.root('example.com')
    const seed = gateway.peers.find((address) => address.includes('/tls/http/')) ?? ''
    assert.match(seed, /^\/ip4\/(127.0.0.1|192.0.2.250)\/tcp\/\d+\/tls\/http\/p2p\//)
    const at = seed.replace('/127.0.0.1/', `/${ADDRESS}/`)
    const puller = await start('puller', { env: { SEAWAY_PEERS: at, NODE_EXTRA_CA_CERTS: ca } })
    const env = await home(folder('seed'))
    const from = `docker://${puller.host}/ipfs/${root}/example.com/tls-skopeo:1`
    await run('skopeo', ['copy', '--src-tls-verify=false', from, `oci:${folder('seed-pulled')}:1`], { env })

    const [address = '', id = ''] = at.split('/p2p/')
    const router = keep(await startDelegatedRouter({ id, addresses: [address] }))
    const settings = {
      'HTTPRetrieval.Enabled': true,
      'Routing.Type': 'delegated',
      'Routing.DelegatedRouters': [router.url],
      'Provide.Enabled': false
    }
    const node = keep(await startKubo({ dir: folder('kubo'), settings, env: { SSL_CERT_FILE: ca } }))
    await node.ipfs(['get', '--output', folder('by-kubo'), `${root}/oci/example.com/tls-skopeo`])
    assert.equal((await node.ipfs(['swarm', 'peers'])).stdout, '', 'connected to nobody')
    await run('skopeo', ['inspect', `oci:${folder('by-kubo')}:1`], { env })
  })
})
