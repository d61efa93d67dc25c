/** Looking at images on the command line: on a terminal, through a pipe and as JSON; from every kind of source; in real shells. */
import assert from 'node:assert/strict'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { dockerArchive } from '../support/docker-archive.ts'
import { misfits } from '../support/json-shapes.ts'
import { labelledImage, twoPlatforms } from '../support/labelled-images.ts'
import { ociClient } from '../support/oci-client.ts'
import { useBed } from './support/bed.ts'
import { startBind } from './support/bind.ts'
import { gatewayEnv, runSeaway, type SeawayGateway } from './support/gateway.ts'
import { available, type RunResult } from './support/process.ts'
import { startRegistry } from './support/registry.ts'
import { openTerminal, shownBy } from './support/terminal.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')
const ESCAPE = '\u001b'

describe('looking at images on the command line', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('cli-look')
  let ships: SeawayGateway
  let reader: SeawayGateway
  let registry: string
  let docker: string
  let roots: string[]

  before(async function () {
    if (!available('named', 'docker-registry', 'htpasswd', 'tmux', 'bash', 'zsh', 'fish')) this.skip()
    const bind = keep(await startBind({ dir: folder('dns'), zones: { 'ships.test': [] } }))
    ships = await gateway('ships', { dns: bind.server, env: { SEAWAY_KEEP_ROOTS: '9' } })
    const client = ociClient({ port: Number(new URL(ships.url).port) })
    const created = '2026-01-02T03:04:05Z'
    await labelledImage(client, 'app', '1.9', {
      created,
      layers: ['base', 'nine'],
      labels: { version: '1.9' }
    })
    await labelledImage(client, 'app', '1.10', {
      created,
      layers: ['base', 'ten', 'more'],
      labels: { version: '1.10' }
    })
    await labelledImage(client, 'ships.test/app', '1', { labels: { evil: `a${ESCAPE}[31mred`, team: 'web' } })
    roots = [await ships.root('ships.test')]
    await ships.records('ships.test')
    await twoPlatforms(client, 'ships.test/team/multi', 'v1', { labels: { team: 'core' } })
    roots.push(await ships.root('ships.test'))
    await bind.setLines('ships.test', await ships.records('ships.test'))
    reader = await gateway('reader', { dns: bind.server, env: { SEAWAY_PEERS: ships.peers.join(',') } })

    const user = { name: 'mate', password: 'secret' }
    const other = keep(await startRegistry({ dir: folder('registry'), user }))
    const open = keep(await startRegistry({ dir: folder('open') }))
    const target = ociClient({ port: open.port })
    await labelledImage(target, 'team/tool', '2', { labels: { team: 'tools' } })
    await twoPlatforms(target, 'multi', '1')
    registry = open.host
    docker = folder('docker')
    await mkdir(docker, { recursive: true })
    const auth = Buffer.from('mate:secret').toString('base64')
    await writeFile(join(docker, 'config.json'), JSON.stringify({ auths: { [other.host]: { auth } } }))
    locked = other.host
  })
  let locked = ''

  const look = (at: SeawayGateway, ...args: string[]): Promise<RunResult> =>
    at.seaway(args, { allowFailure: true, timeout: 60_000 })

  /** What a command prints into a pipe; it must succeed. */
  async function piped(at: SeawayGateway, ...args: string[]): Promise<string> {
    const { stdout, stderr, status } = await look(at, ...args)
    assert.deepEqual([status, stderr], [0, ''], args.join(' '))
    assert.ok(!stdout.includes(ESCAPE), 'no colours in a pipe')
    return stdout
  }
  const lines = async (at: SeawayGateway, ...args: string[]) =>
    (await piped(at, ...args)).trimEnd().split('\n')

  /** What a command shows on a terminal. */
  const shown = (name: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> =>
    shownBy(
      {
        dir: folder(`terminal-${name}`),
        command: [process.execPath, MAIN, ...args],
        env: { ...gatewayEnv(ships.data), ...env },
        columns: 115
      },
      { colours: true }
    )

  const COMMANDS: Record<string, { args: () => string[]; shape: string; shows: RegExp }> = {
    images: {
      args: () => ['images'],
      shape: 'images, tags',
      shows: /REPOSITORY +TAG +DIGEST.*\n.*app +1\.10 +sha256:\w{12} +linux\/amd64/
    },
    tags: {
      args: () => ['tags', 'app'],
      shape: 'images, tags',
      shows: /TAG +DIGEST.*\n.*1\.9.* 3 .*version=1\.10|1\.9/
    },
    count: {
      args: () => ['images', '--count'],
      shape: 'images --count, tags --count',
      shows: /3 repositories, 4 tags, 4 images/
    },
    inspect: {
      args: () => ['inspect', 'ships.test/team/multi:v1'],
      shape: 'inspect',
      shows: /platforms +linux\/amd64, linux\/arm64/
    },
    'diff-images': {
      args: () => ['diff', 'app:1.9', 'app:1.10'],
      shape: 'diff (images)',
      shows: /same +4 B[\s\S]*labels\.version +1\.9 +1\.10/
    },
    'diff-roots': {
      args: () => ['diff', roots[0] ?? '', 'ships.test@2'],
      shape: 'diff (roots)',
      shows: /\+.*ships\.test\/team\/multi:v1/
    },
    history: { args: () => ['history', 'ships.test'], shape: 'history', shows: /N +PUBLISHED +ROOT/ },
    rm: { args: () => ['rm', '--dry-run', 'app:1.9'], shape: 'rm', shows: /would remove/ },
    gc: { args: () => ['gc', '--dry-run'], shape: 'gc', shows: /would free/ },
    usage: { args: () => ['usage'], shape: 'usage', shows: /DOMAIN +IMAGES/ },
    verify: { args: () => ['verify', '--restart'], shape: 'verify', shows: /checked \d+ blobs/ },
    pin: { args: () => ['pin', 'ls'], shape: 'pin ls', shows: /^/ }
  }
  for (const [name, { args, shape, shows }] of Object.entries(COMMANDS)) {
    it(`seaway ${args
      .toString()
      .replace(/^.*?\[|\].*$/g, '')
      .replaceAll(/[',]/g, '')
      .slice(0, 30)} shows people and programs the same`, async () => {
      const ways = [
        () => shown(name, args()),
        () => piped(ships, ...args()),
        () => piped(ships, ...args(), '--json')
      ]
      const found: string[] = []
      // a second verification is refused while one runs
      if (name === 'verify') for (const way of ways) found.push(await way())
      else found.push(...(await Promise.all(ways.map((way) => way()))))
      const [terminal = '', pipe = '', json = ''] = found
      assert.match(pipe, shows)
      // eslint-disable-next-line no-control-regex -- colours are what is taken off
      const plain = terminal.replace(/\u001b\[[0-9;]*m/g, '')
      assert.match(plain, shows)
      assert.deepEqual(misfits(shape, JSON.parse(json)), [])
    })
  }

  it('heads stand out on a terminal, unless NO_COLOR is set; lines end at its edge', async () => {
    const [coloured, plain] = await Promise.all([
      shown('coloured', ['images']),
      shown('plain', ['images'], { NO_COLOR: '1' })
    ])
    assert.ok(coloured.includes(`${ESCAPE}[1mREPOSITORY`))
    assert.ok(!plain.includes(ESCAPE))
    for (const line of plain.split('\n')) assert.ok(line.length <= 115, line)
    assert.match(plain, /…$/m)
  })

  it('what is pushed on a terminal has a bar a layer and one for all; what is there already is said', async () => {
    const dir = folder('terminal-push')
    await mkdir(dir, { recursive: true })
    const { bytes } = await dockerArchive('bars.test/app:1')
    await writeFile(join(dir, 'app.tar'), bytes)
    const half = 100_000
    const feed = `head -c ${half} app.tar; until [ -e go ]; do sleep 0.1; done; tail -c +${half + 1} app.tar`
    const command = ['sh', '-c', `cd ${dir}; { ${feed}; } | "$0" "$@"`, process.execPath, MAIN, 'push', '-']
    const env = gatewayEnv(ships.data)
    const terminal = await openTerminal({ dir, command, env })
    try {
      await terminal.until(
        /^a\/layer\.tar +\[=+ *\] +[\d.]+ kB of 20\d kB .*\/s .* left\nin all +\[=+ *\] +[\d.]+ kB of 20\d kB .*\/s .* left$/m
      )
      await writeFile(join(dir, 'go'), '')
      assert.equal(await terminal.ended(), 0, await terminal.screen())
      const screen = await terminal.screen()
      // what is done first is said first
      for (const line of [
        /^a\/layer\.tar +20\d kB$/m,
        /^b\/layer\.tar +[\d.]+ kB$/m,
        /kB\nIMAGE +TO +DIGEST *$/m
      ])
        assert.match(screen, line)
      assert.match(
        screen,
        /^2 blobs moved \(.*\), 0 blobs there already \(0 B\)\nbars\.test is now at root bafy/m
      )
      assert.doesNotMatch(screen, /in all/)
    } finally {
      await terminal.stop()
    }
    const layout = `oci:${join(dir, 'layout')}`
    await piped(ships, 'copy', 'bars.test/app:1', layout)
    assert.match(
      await shown('again', ['push', layout, '--name', 'bars.test/app:2'], { NO_COLOR: '1' }),
      /already there \([\s\S]*0 blobs moved \(0 B\), 3 blobs there already/
    )
    await piped(ships, 'rm', '--all', 'bars.test/app')
  })

  it('what an image says of itself does not steer the terminal', async () => {
    const found = await piped(ships, 'tags', 'ships.test/app')
    assert.ok(found.includes('evil=a\\u001b[31mred'), found)
  })

  it('trees are found wherever they are: by domain, root, IPNS name, number and URL', async () => {
    const published = JSON.parse(await piped(ships, 'publish', 'ships.test', '--ipns', '--json')) as {
      ipns: string
    }
    const names = ['ships.test/app:1', 'ships.test/team/multi:v1']
    const sources: [SeawayGateway, string, string][] = [
      [reader, 'ships.test', ''],
      [reader, roots[1] ?? '', `ipfs/${roots[1]}/`],
      [reader, `/ipns/${published.ipns}`, `ipns/${published.ipns}/`],
      [ships, 'ships.test@2', ''],
      [reader, `${ships.url}/ships.test`, `${ships.url}/`]
    ]
    const found = await Promise.all(sources.map(([at, source]) => lines(at, 'images', '-q', '--in', source)))
    assert.deepEqual(
      found,
      sources.map(([, , prefix]) => names.map((name) => prefix + name))
    )
    // a name is one that other commands take
    const [ipns = ''] = found[2] ?? []
    assert.match(await piped(reader, 'inspect', ipns), /layer 1 .* no/)
    assert.deepEqual(await lines(reader, 'tags', 'ships.test/app', '-q'), ['1'])
    assert.match(
      await piped(reader, 'inspect', '--in', 'ships.test', 'app:1'),
      /provider +\/ip4.*record, connected/
    )
  })

  it('another registry is looked at over its API, logged in as docker is', async () => {
    assert.deepEqual(await lines(ships, 'images', '--in', registry, '-q'), [
      `http://${registry}/multi:1`,
      `http://${registry}/team/tool:2`
    ])
    assert.match(
      await piped(ships, 'tags', `${registry}/multi`, '--platform', 'linux/arm64'),
      /linux\/arm64 .* 2$/m
    )
    assert.match(
      await piped(ships, 'diff', `http://${registry}`, 'local', '--tags'),
      /2 added, 0 changed, 2 removed/
    )
    const env = gatewayEnv(folder('nowhere'), undefined, { DOCKER_CONFIG: docker })
    const within = await runSeaway(['images', '--in', locked], env)
    assert.match(within.stdout, /^REPOSITORY[^\n]*\n$/, 'nothing is in it')
    const outside = await look(ships, 'images', '--in', locked)
    assert.deepEqual([outside.status, outside.stdout], [1, ''])
    assert.match(outside.stderr, new RegExp(`^seaway: .*docker login ${locked}.*\n$`))
  })

  it('lists are sorted, filtered, counted and cut', async () => {
    const cases: [string[], string[]][] = [
      [
        ['tags', 'app', '-q', '--sort', 'version'],
        ['1.9', '1.10']
      ],
      [['images', '-q', '--sort', 'size', '--limit', '1', 'app'], ['app:1.10']],
      [['images', '-q', '--label', 'team=web', '--label', 'evil'], ['ships.test/app:1']],
      [['images', '-q', 'ships.test/**:v*'], ['ships.test/team/multi:v1']],
      [['images', '--older', '2026-06-01', '--count'], ['1 repository, 2 tags, 2 images']],
      [['images', 'nothing*', '--json'], ['[]']]
    ]
    const found = await Promise.all(cases.map(([args]) => lines(ships, ...args)))
    assert.deepEqual(
      found,
      cases.map(([, wanted]) => wanted)
    )
  })

  it('bad input is one line that says what to do: status 1 for what is not there, 2 for bad usage', async () => {
    const cases: [string[], number, RegExp][] = [
      [['tags', 'nobody'], 1, /no repository nobody/],
      [['inspect', 'app:9'], 1, /no tag '9'/],
      [['inspect', 'app:1.9', '--platform', 'linux/s390x'], 1, /for linux\/amd64/],
      [['images', '--in', 'nobody.test'], 1, /nobody\.test/],
      [['images', '--in', '127.0.0.1:9'], 1, /connection refused/],
      [['images', '--in', 'nonsense'], 2, /http:\/\/HOST/],
      [['images', '--older', 'long'], 2, /--older is 'long'.*30d/],
      [['images', '--sort', 'luck'], 2, /name, version/],
      [['tags', 'app:1'], 2, /seaway inspect/],
      [['diff', 'app:1.9', 'local'], 2, /like with like/],
      [['completion', 'tcsh'], 2, /bash, zsh, fish/]
    ]
    const found = await Promise.all(cases.map(([args]) => look(ships, ...args)))
    for (const [i, { stdout, stderr, status }] of found.entries()) {
      const [args, wanted, text] = cases[i] ?? assert.fail()
      assert.deepEqual([status, stdout], [wanted, ''], `${args.join(' ')}: ${stderr}`)
      assert.match(stderr, /^seaway: [^\n]+\n$/)
      assert.match(stderr, text)
    }
  })

  it('ends at Ctrl-C, also while a registry says nothing', async () => {
    const silent = createServer()
    await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
    const { port } = silent.address() as AddressInfo
    const terminal = await openTerminal({
      dir: folder('terminal-silent'),
      command: [process.execPath, MAIN, 'images', '--in', `127.0.0.1:${port}`],
      env: gatewayEnv(folder('nowhere'))
    })
    try {
      await new Promise((connected) => silent.once('connection', connected))
      await terminal.press('C-c')
      assert.equal(await terminal.ended(), 1)
      assert.match(await terminal.screen(), /seaway: interrupted/)
    } finally {
      await terminal.stop()
      silent.close()
    }
  })

  describe('in a shell', () => {
    const SHELLS: Record<string, { command: string[]; load: string; prompt: string }> = {
      bash: {
        command: ['bash', '--norc', '--noprofile'],
        load: 'source <(seaway completion bash)',
        prompt: 'PS1'
      },
      zsh: { command: ['zsh', '-f'], load: 'source <(seaway completion zsh)', prompt: 'PS1' },
      fish: { command: ['fish', '--no-config'], load: 'seaway completion fish | source', prompt: '' }
    }
    const WORDS: [typed: string, completed: string][] = [
      ['seaway insp', 'seaway inspect '],
      ['seaway images --sort ver', 'seaway images --sort version '],
      ['seaway tags ships.test/te', 'seaway tags ships.test/team/multi '],
      ['seaway inspect app:1.1', 'seaway inspect app:1.10 '],
      ['seaway gc --retent', 'seaway gc --retention '],
      ['seaway key rot', 'seaway key rotate ']
    ]
    for (const [shell, { command, load }] of Object.entries(SHELLS)) {
      it(`${shell} completes commands, options, their values, repositories and tags`, async () => {
        const bin = folder('bin')
        await mkdir(bin, { recursive: true })
        await writeFile(join(bin, 'seaway'), `#!/bin/sh\nexec ${process.execPath} ${MAIN} "$@"\n`)
        await chmod(join(bin, 'seaway'), 0o755)
        const PATH = `${bin}:${process.env['PATH']}`
        const env = { ...gatewayEnv(ships.data), PATH, PS1: 'ready> ', HOME: folder(`home-${shell}`) }
        await mkdir(env.HOME, { recursive: true })
        const terminal = await openTerminal({ dir: folder(`terminal-${shell}`), command, env })
        try {
          await terminal.type(`${load}; echo loa''ded`)
          await terminal.press('Enter')
          await terminal.until(/^loaded/m)
          for (const [typed, completed] of WORDS) {
            await terminal.type(typed)
            await terminal.press('Tab')
            await terminal.until(new RegExp(`[>#] ${completed.trimEnd().replaceAll('.', '\\.')}(?: |$)`, 'm'))
            // not C-c, which a shell may be told while it still completes
            await terminal.press('C-u')
          }
        } finally {
          await terminal.stop()
        }
      })
    }
  })

  // the last, since suites within this one run after its own tests
  describe('without a gateway', () => {
    it('works alone when no gateway runs', async () => {
      const args = ['images', '--json']
      const running = await piped(ships, ...args)
      await ships.stop()
      assert.equal(await piped(ships, ...args), running)
      assert.equal(await piped(ships, 'completion', '--names', 'image', 'app'), '')
    })
  })
})
