/** Every command that cli-look.spec.ts leaves out, on a terminal, through a pipe, and as the JSON that is documented. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { allCommands } from '../../src/cli/table.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { misfits } from '../support/json-shapes.ts'
import { labelledImage } from '../support/labelled-images.ts'
import { ociClient } from '../support/oci-client.ts'
import { useBed } from './support/bed.ts'
import { gatewayEnv, type SeawayGateway } from './support/gateway.ts'
import { available, run } from './support/process.ts'
import { openTerminal, shownBy } from './support/terminal.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')
const SECRET = 'a long secret'

/** What `cli-look.spec.ts` shows on a terminal. */
const LOOKED = ['images', 'tags', 'inspect', 'diff', 'history', 'rm', 'gc', 'usage', 'verify', 'pin']

/** A command as it is tried; without a shape it has no JSON. */
type Row = [
  name: string,
  args: () => string[],
  shape: string,
  shows: RegExp,
  who?: () => { at: SeawayGateway; input: string }
]

const MOVED = 'push, pull, copy, import, export (oci:)'

describe('commands that change something', function () {
  this.timeout(120_000)
  const { folder, gateway, keep } = useBed('cli-terminal')
  const users = { SEAWAY_AUTH_USERS: folder('users') }
  let dns: DnsServer
  let ships: SeawayGateway
  /** One that asks who somebody is. */
  let guarded: SeawayGateway
  let carried: string
  let turn = 0

  before(async function () {
    if (!available('tmux')) this.skip()
    dns = keep(await startDnsServer())
    ships = await gateway('ships', { dns: dns.address })
    const client = ociClient({ port: Number(new URL(ships.url).port) })
    await labelledImage(client, 'ships.test/app', '1', { layers: ['one', 'two'] })
    await mkdir(folder('out'))
    carried = join(folder('out'), 'carried.car')
    await ships.seaway(['export', 'ships.test', carried])
    dns.setTxt('_dnslink.ships.test', [`dnslink=/ipfs/${await ships.root('ships.test')}`])
    dns.setTxt('ships.test', [`ipfsnode=${JSON.stringify(ships.peers)}`])
    const env = gatewayEnv(folder('guarded'), dns.address, users)
    await run(process.execPath, [MAIN, 'login-user', 'mate'], { env, input: `${SECRET}\n` })
    guarded = await gateway('guarded', { dns: dns.address, env: users })
  })

  /** A name that no other run of a command has. */
  const anew = (name: string) => join(folder('out'), `${turn++}-${name}`)

  /** At the gateway that asks, with the password on stdin. */
  const guest = () => ({ at: guarded, input: `${SECRET}\n` })

  const COMMANDS: Row[] = [
    [
      'push',
      () => ['push', `oci:${layout}`, '--name', `pushed.test/app:${turn++}`],
      MOVED,
      /IMAGE +TO +DIGEST/
    ],
    [
      'pull',
      () => ['pull', 'ships.test/app:1', '--into', `archive:${anew('a.tar')}`],
      MOVED,
      /3 blobs moved/
    ],
    ['copy', () => ['copy', 'ships.test/app:1', `oci:${anew('layout')}`], MOVED, /IMAGE +TO +DIGEST/],
    ['export', () => ['export', 'ships.test', anew('b.car')], 'export (CAR)', /bafy/],
    ['export to a layout', () => ['export', 'ships.test/app', `oci:${anew('c')}`], MOVED, /app:1/],
    ['import', () => ['import', carried], MOVED, /blobs there already/],
    ['import of a layout', () => ['import', `oci:${layout}`, '--name', 'layout.test/app:1'], MOVED, /app:1/],
    ['root', () => ['root', 'ships.test'], 'root', /^bafy/],
    ['publish', () => ['publish', 'ships.test'], 'publish', /dnslink=\/ipfs\/bafy/],
    ['token list', () => ['token', 'list'], 'token list', /ID +NAME +CAN/],
    ['key list', () => ['key', 'list'], 'key list', /^/],
    ['access', () => ['access', 'check', 'anyone', 'app', 'pull'], 'access check', /may do anything/],
    ['setup', () => ['setup', 'podman'], 'setup', /\[\[registry\]\]/],
    ['provide', () => ['provide'], 'provide', /^/],
    ['sync', () => ['sync', 'ships.test', '--dry-run'], 'sync', /ships\.test/],
    ['doctor', () => ['doctor'], 'doctor', /ok +listening/],
    ['prefetch', () => ['prefetch', 'ships.test/app:1'], 'prefetch', /ships\.test\/app:1/],
    ['login-user', () => ['login-user', 'other'], 'login-user', /other (?:is a user now|has a new)/, guest],
    ['whoami', () => ['whoami', guarded.url, '--user', 'mate'], 'whoami', /mate \(user\) at/, guest],
    ['completion', () => ['completion', 'bash'], '', /complete -F/]
  ]
  let layout = ''

  before(async () => {
    layout = anew('begin')
    await ships.seaway(['copy', 'ships.test/app:1', `oci:${layout}`])
  })

  for (const [name, args, shape, shows, who] of COMMANDS) {
    it(`seaway ${name} shows people and programs the same`, async () => {
      const { at, input } = who?.() ?? { at: ships, input: '' }
      const typed = input === '' ? [] : ['sh', '-c', `printf '${input}' | "$0" "$@"`]
      const terminal = shownBy({
        dir: folder(`terminal-${name.replaceAll(' ', '-')}`),
        command: [...typed, process.execPath, MAIN, ...args()],
        env: { ...gatewayEnv(at.data, dns.address, at === guarded ? users : {}), NO_COLOR: '1' }
      })
      const documented = shape === '' ? [] : ['--json']
      const [onTerminal, pipe, json] = await Promise.all([
        terminal,
        at.seaway(args(), { input }),
        at.seaway([...args(), ...documented], { input })
      ])
      assert.match(onTerminal, shows)
      assert.match(pipe.stdout, shows)
      assert.ok(!pipe.stdout.includes('\u001b'), 'nothing that steers a terminal goes into a pipe')
      if (shape !== '') assert.deepEqual(misfits(shape, JSON.parse(json.stdout)), [])
    })
  }

  it('what changes keys, pins and published roots prints the JSON that is documented', async () => {
    const root = await ships.root('ships.test')
    const file = anew('key')
    const steps: [shape: string, ...args: string[]][] = [
      ['key create, key import', 'key', 'create', 'keys.test'],
      ['key export', 'key', 'export', 'keys.test', file],
      ['key create, key import', 'key', 'import', 'other.test', file],
      ['key rotate', 'key', 'rotate', 'keys.test'],
      ['pin add', 'pin', 'add', root],
      ['pin rm', 'pin', 'rm', root],
      ['history --restore', 'history', 'ships.test', '--restore', root]
    ]
    for (const [shape, ...args] of steps) {
      const { stdout } = await ships.seaway([...args, '--json'])
      assert.deepEqual(misfits(shape, JSON.parse(stdout)), [], shape)
    }
  })

  it('seaway serve says on a terminal where it listens, and ends at Ctrl-C', async () => {
    const terminal = await openTerminal({
      dir: folder('terminal-serve'),
      command: [process.execPath, MAIN, 'serve'],
      env: { ...gatewayEnv(folder('served')), NO_COLOR: '1' }
    })
    try {
      assert.match(await terminal.until(/docker pull/), /Seaway listens on http:\/\/127\.0\.0\.1:\d+/)
      await terminal.press('C-c')
      assert.equal(await terminal.ended(), 0)
    } finally {
      await terminal.stop()
    }
  })

  it('no command is left out', async () => {
    const here = COMMANDS.map(([name]) => name.split(' ')[0] ?? '')
    const left = (await allCommands()).map(({ name }) => name).filter((name) => !here.includes(name))
    assert.deepEqual(left.filter((name) => name !== 'serve').sort(), LOOKED.toSorted())
  })
})
