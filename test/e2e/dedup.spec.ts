/** A layer is kept once, whatever it is called, whoever brought it, and in whatever form: measured on disk. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type Client, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run } from './support/process.ts'
import { startRelay } from './support/relay.ts'
import { repository } from './support/wire.ts'

const MB = 1e6

/** The folders of blob files, 256 of one block each, which an empty data folder has too. */
const FOLDERS = 256 * 4096

describe('a layer that comes again', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('dedup')
  let bind: Bind
  let first: Image
  let second: Image
  let a: SeawayGateway
  /** The bytes of all distinct blobs of both images. */
  let distinct: number

  before(async function () {
    if (!available('skopeo', 'du', 'named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    bind = keep(
      await startBind({ dir: folder('named'), zones: { 'ships.example': [], 'docks.example': [] } })
    )
    const layers = [{ size: 100 * MB, seed: 'shared' }]
    first = await makeImage({ dir: folder('first'), name: 'first:1', layers })
    second = await makeImage({
      dir: folder('second'),
      name: 'second:1',
      base: first,
      layers: [{ size: 20 * MB, seed: 'second' }]
    })
    const sizes = [first, second].flatMap(({ layers, configs, manifests }) =>
      [...layers, ...configs, ...manifests].map(({ digest, size }): [string, number] => [digest, size])
    )
    distinct = [...new Map(sizes).values()].reduce((sum, size) => sum + size, 0)
    a = await gateway('a', { dns: bind.server })
  })

  /** Bytes on the disk, as `du` counts blocks. */
  async function used(path: string): Promise<number> {
    return Number((await run('du', ['--summarize', '--block-size=1', path])).stdout.split('\t')[0])
  }

  /** A client with a place of its own. It may remember where it has seen a blob, and ask for it to be mounted. */
  let clients = 0
  const newClient = (): Promise<Client> => skopeo({ dir: folder(`skopeo-${++clients}`) })

  async function measure(what: string, data: string): Promise<void> {
    const [all, index, datastore] = [data, join(data, 'index'), join(data, 'datastore')].map(used)
    const [total, databases] = [(await all) ?? 0, ((await index) ?? 0) + ((await datastore) ?? 0)]
    console.log(
      `      ${what}: ${(total / MB).toFixed(1)} MB on disk, ${(distinct / MB).toFixed(1)} MB of distinct blobs, ` +
        `${(databases / MB).toFixed(2)} MB of that in databases`
    )
    assert.ok(total <= 1.01 * distinct + FOLDERS, `${total} bytes on disk for ${distinct}`)
    // One leaf of the layers is 1 MiB: not even one lies in a database beside its file.
    assert.ok(databases < MB, `${databases} bytes in the databases`)
    assert.deepEqual(await readdir(join(data, 'incoming')), [])
  }

  it('is stored once when it is pushed under other names and other domains', async () => {
    for (const name of ['ships.example/one', 'docks.example/two', 'local/three', 'ships.example/four'])
      await (await newClient()).push(first, `${a.host}/${name}:1`)
    await (await newClient()).push(second, `${a.host}/docks.example/five:1`)
    const [shared] = first.layers
    const bytes = await readFile(join(first.dir, 'blobs', shared?.digest.replace(':', '/') ?? ''))
    // And sent in full once more, whatever the gateway has: clients skip what they are told is there.
    await repository(a.url, 'docks.example/sent').putImage('1', bytes)
    await measure('pushed six times', a.data)
  })

  it('is stored once when it is pulled by several names, and crosses the wire once', async () => {
    const relay = keep(await startRelay(a.peers[0] ?? ''))
    for (const zone of ['ships.example', 'docks.example']) {
      const link = `dnslink=/ipfs/${await a.root(zone)}`
      await bind.setTxt(zone, { _dnslink: link, '@': `ipfsnode=${relay.multiaddr}` })
    }
    const b = await gateway('b', { dns: bind.server })
    for (const name of ['ships.example/one', 'docks.example/two', 'ships.example/four', 'docks.example/five'])
      await (await newClient()).pull(`${b.host}/${name}:1`)
    await measure('pulled four times', b.data)
    console.log(`      over the wire: ${(relay.passed / MB).toFixed(1)} MB`)
    assert.ok(relay.passed < 1.02 * distinct, `${relay.passed} bytes came for ${distinct}`)
    await (await newClient()).push(first, `${b.host}/local/six:1`)
    await measure('and pushed there as well', b.data)
  })

  it('is still stored once after a restart', async () => {
    await a.stop()
    a = await gateway('a', { dns: bind.server })
    await (await newClient()).push(first, `${a.host}/ships.example/seven:1`)
    await measure('after a restart', a.data)
  })
})
