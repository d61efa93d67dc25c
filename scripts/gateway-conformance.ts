/**
 * `npm run test:gateway-conformance -- FOLDER`: the trustless part of the official suite of IPFS gateways against a
 * gateway of its own, on the registry's port and on the seed port. FOLDER is a checkout of the suite
 * (github.com/ipfs/gateway-conformance) with a `tests` program in it, as `go test -c -o gateway-tests ./tests` makes it;
 * more words go to the program, as `-test.run=Raw`.
 *
 * Go's module proxy doesn't hand the suite out, so CI has no way to it: there, test/e2e/conformance-gateway.spec.ts
 * holds the same specification against the same ports, beside Kubo's gateway.
 *
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/
 */
import { createReadStream, existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { readCar } from '../src/ipfs/car.ts'
import { openStore, type Store } from '../src/store/index.ts'
import { freePort } from '../test/e2e/support/daemon.ts'
import { startGateway } from '../test/e2e/support/gateway.ts'
import { run, tempDir } from '../test/e2e/support/process.ts'

/** What of the suite is about a gateway that serves blocks and CARs, and lets its clients verify. */
const SPECS = '-specs=trustless-gateway'

const [folder = '', ...more] = process.argv.slice(2)
const program = join(folder, 'gateway-tests')
if (folder === '' || !existsSync(program)) {
  console.error(`${program} is not there: run 'go test -c -o gateway-tests ./tests' in a checkout of the suite,
and give that folder: npm run test:gateway-conformance -- FOLDER`)
  process.exit(2)
}

/** The fixtures of such names. */
async function fixtures(named: RegExp): Promise<string[]> {
  const all = await readdir(join(folder, 'fixtures'), { recursive: true })
  return all.filter((name) => named.test(name)).map((name) => join(folder, 'fixtures', name))
}

/** The fixtures of what is tested. */
const CARS = /(?:gateway-raw-block|trustless_gateway_car\/[^/]+)\.car$/
const RECORDS = /\.ipns-record$/

/** Takes a CAR's blocks into a store. */
async function fill(store: Store, car: string): Promise<void> {
  let pieces: Uint8Array[] = []
  for await (const { cid, data, last } of readCar(createReadStream(car))) {
    pieces.push(data)
    if (!last) continue
    await store.blocks.commit([{ cid, bytes: Buffer.concat(pieces) }], [])
    pieces = []
  }
}

const temp = tempDir('gateway-suite')
const data = join(temp.path, 'data')
const store = await openStore({ folder: data, reserve: 0 })
for (const car of await fixtures(CARS)) await fill(store, car)
await store.close()

const seed = `127.0.0.1:${await freePort()}`
const gateway = await startGateway({ dir: temp.path, env: { SEAWAY_SEED_LISTEN: seed } })
try {
  for (const record of await fixtures(RECORDS)) {
    const name = basename(record, '.ipns-record').split('_')[0] ?? ''
    const headers = { 'Content-Type': 'application/vnd.ipfs.ipns-record' }
    const said = await fetch(`${gateway.url}/routing/v1/ipns/${name}`, {
      method: 'PUT',
      headers,
      body: await readFile(record)
    })
    // some are broken on purpose
    if (said.status !== 200) console.log(`${basename(record)} was refused: ${await said.text()}`)
  }
  for (const [port, url] of [
    ['the registry', gateway.url],
    ['the seed port', `http://${seed}`]
  ] as const) {
    const { status, stdout } = await run(program, ['-test.v', SPECS, ...more], {
      env: { GATEWAY_URL: url, GATEWAY_CONFORMANCE_HOME: folder },
      cwd: join(folder, 'tests'),
      timeout: 600_000,
      allowFailure: true
    })
    const ended = (how: string) => stdout.match(new RegExp(`^ *--- ${how}`, 'gm'))?.length ?? 0
    if (status !== 0) console.error(stdout)
    console.log(`${port}: ${ended('PASS')} passed, ${ended('FAIL')} failed, ${ended('SKIP')} skipped`)
    if (status !== 0 || ended('PASS') === 0) process.exitCode = 1
  }
} finally {
  await gateway.stop()
  await temp.remove()
}
