import assert from 'node:assert/strict'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'
import { freePort, waitFor } from './support/daemon.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import { available, run, tempDir } from './support/process.ts'

const REPOSITORY = resolve(import.meta.dirname, '../..')

/** What the image's build copies from the repository. */
const CONTEXT = [
  'package.json',
  'package-lock.json',
  'scripts/no-helia-libp2p',
  'scripts/no-form-data',
  'src'
]

interface ComposeFile {
  services: {
    seaway: { build: { dockerfile_inline: string }; environment: Record<string, string>; ports: string[] }
  }
}

/**
 * A base image like the one that the Dockerfile begins with, for machines that can't reach Docker Hub:
 * Debian by debootstrap, the Node that package.json pins, npm, and this machine's certificates.
 */
async function makeBase(engine: DockerEngine, dir: string): Promise<void> {
  const root = join(dir, 'base')
  await run('debootstrap', ['--variant=minbase', 'bookworm', root], { timeout: 240_000 })
  const npm = (await run('sh', ['-c', 'dirname $(dirname $(readlink -f $(command -v npm)))'])).stdout.trim()
  await mkdir(join(root, 'usr/local/lib/node_modules'), { recursive: true })
  await cp(process.execPath, join(root, 'usr/local/bin/node'))
  await cp(npm, join(root, 'usr/local/lib/node_modules/npm'), { recursive: true, dereference: true })
  await run('ln', ['-s', '../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm')])
  await run('chroot', [root, 'useradd', '-m', '-u', '1000', 'node'])
  await mkdir(join(root, 'etc/ssl/certs'), { recursive: true })
  await cp('/etc/ssl/certs/ca-certificates.crt', join(root, 'etc/ssl/certs/ca-certificates.crt'))
  await run(
    'sh',
    [
      '-c',
      `tar -C ${root} -c . | docker import --change 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' - node:24-bookworm-slim`
    ],
    {
      env: { DOCKER_HOST: engine.host },
      timeout: 120_000
    }
  )
}

describe('compose.yaml', function () {
  this.timeout(600_000)
  let temp: { path: string; remove(): Promise<void> }
  let engine: DockerEngine | undefined

  before(async function () {
    if (!available('dockerd', 'debootstrap')) {
      if (process.env['CI'])
        throw new Error('dockerd and debootstrap are needed: scripts/install-peers.sh apt')
      console.warn('SKIPPED: compose.yaml needs dockerd and debootstrap (scripts/install-peers.sh apt)')
      this.skip()
    }
    temp = tempDir('compose')
    engine = await startDocker({ dir: temp.path })
  })
  after(async () => {
    await engine?.stop()
    await temp?.remove()
  })

  it('its image builds, and runs as a gateway', async () => {
    assert.ok(engine !== undefined)
    const { services } = parse(await readFile(join(REPOSITORY, 'compose.yaml'), 'utf8'), {
      merge: true
    }) as ComposeFile
    const { build, environment, ports } = services.seaway
    await makeBase(engine, temp.path)
    const context = join(temp.path, 'context')
    for (const part of CONTEXT) await cp(join(REPOSITORY, part), join(context, part), { recursive: true })
    await writeFile(join(context, 'Dockerfile'), build.dockerfile_inline)
    await engine.docker(['build', '--network', 'host', '-t', 'seaway', context], { timeout: 400_000 })

    assert.ok(ports.every((port) => /:(5000|4001)$/.test(port)))
    const port = await freePort()
    const env = Object.entries({
      ...environment,
      SEAWAY_LISTEN: `127.0.0.1:${port}`,
      SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0'
    })
    const flags = env.flatMap(([name, value]) => ['-e', `${name}=${value}`])
    await engine.docker([
      'run',
      '-d',
      '--name',
      'gateway',
      '--init',
      '--network',
      'host',
      ...flags,
      '-v',
      'seaway:/data',
      'seaway'
    ])
    await waitFor(
      'the gateway in the container',
      async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined)
        return answer?.ok === true
      },
      { deadline: 30_000 }
    )
    const { stdout } = await engine.docker(['logs', 'gateway'])
    assert.match(stdout, /Seaway listens on/)
    await engine.docker(['stop', '-t', '15', 'gateway'])
    const state = await engine.docker(['inspect', '-f', '{{.State.ExitCode}}', 'gateway'])
    assert.equal(state.stdout.trim(), '0', 'a stop is a clean end')
    await rm(context, { recursive: true })
  })
})
