/** Commands that move images or change something, on a terminal, through a pipe, and as the JSON that is documented. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { misfits } from '../support/json-shapes.ts'
import { labelledImage } from '../support/labelled-images.ts'
import { ociClient } from '../support/oci-client.ts'
import { useBed } from './support/bed.ts'
import { gatewayEnv, type SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { shownBy } from './support/terminal.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')
const MOVED = 'push, pull, copy, import, export (oci:)'

describe('commands that change something', function () {
  this.timeout(120_000)
  const { folder, gateway } = useBed('cli-terminal')
  let ships: SeawayGateway
  let carried: string
  let turn = 0

  before(async function () {
    if (!available('tmux')) this.skip()
    ships = await gateway('ships')
    const client = ociClient({ port: Number(new URL(ships.url).port) })
    await labelledImage(client, 'ships.test/app', '1', { layers: ['one', 'two'] })
    await mkdir(folder('out'))
    carried = join(folder('out'), 'carried.car')
    await ships.seaway(['export', 'ships.test', carried])
  })

  /** A name that no other run of a command has. */
  const anew = (name: string) => join(folder('out'), `${turn++}-${name}`)

  const COMMANDS: [name: string, args: () => string[], shape: string, shows: RegExp][] = [
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
    ['provide', () => ['provide'], 'provide', /^/]
  ]
  let layout = ''

  before(async () => {
    layout = anew('begin')
    await ships.seaway(['copy', 'ships.test/app:1', `oci:${layout}`])
  })

  for (const [name, args, shape, shows] of COMMANDS) {
    it(`seaway ${name} shows people and programs the same`, async () => {
      const terminal = shownBy({
        dir: folder(`terminal-${name.replaceAll(' ', '-')}`),
        command: [process.execPath, MAIN, ...args()],
        env: { ...gatewayEnv(ships.data), NO_COLOR: '1' }
      })
      const [onTerminal, pipe, json] = await Promise.all([
        terminal,
        ships.seaway(args()),
        ships.seaway([...args(), '--json'])
      ])
      assert.match(onTerminal, shows)
      assert.match(pipe.stdout, shows)
      assert.ok(!pipe.stdout.includes('\u001b'), 'nothing that steers a terminal goes into a pipe')
      assert.deepEqual(misfits(shape, JSON.parse(json.stdout)), [])
    })
  }
})
