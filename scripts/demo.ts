/**
 * `npm run demo`: the main job on one machine, in plain words. A publisher's gateway, a small
 * authoritative name server, and a second gateway with an empty store; two images that share a layer are
 * pushed, published and pulled, every digest is compared, and the bytes on the wire are counted.
 *
 * It needs nothing but Node and leaves nothing behind.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type Descriptor, type Image, makeImage } from '../test/e2e/support/images.ts'
import { startMeter } from '../test/support/byte-meter.ts'
import { startDnsServer } from '../test/support/dns-server.ts'
import { startSeaway } from '../test/support/seaway-process.ts'

const DOMAIN = 'ships.example'
const MiB = 1024 * 1024

const say = (text = '') => console.log(text)
const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`

/** All blobs of an image, manifest excluded. */
const blobsOf = (image: Image): Descriptor[] => [...image.configs, ...image.layers]

/** Pushes an OCI layout the way any client does: mounts what another repository has, sends what is missing, then the manifest. Returns the bytes sent. */
async function push(url: string, repository: string, image: Image, from: string): Promise<number> {
  let sent = 0
  const file = (digest: string) => join(image.dir, 'blobs/sha256', digest.slice(7))
  for (const { digest, size } of blobsOf(image)) {
    if ((await fetch(`${url}/v2/${repository}/blobs/${digest}`, { method: 'HEAD' })).ok) continue
    const query = new URLSearchParams({ mount: digest, from })
    const start = await fetch(`${url}/v2/${repository}/blobs/uploads/?${query}`, { method: 'POST' })
    if (start.status === 201) continue
    const location = new URL(start.headers.get('location') as string, url)
    location.searchParams.set('digest', digest)
    const body = Readable.toWeb(createReadStream(file(digest))) as ReadableStream<Uint8Array>
    const put = await fetch(location, { method: 'PUT', body, duplex: 'half' })
    if (put.status !== 201) throw new Error(`the push of ${digest} was refused: ${await put.text()}`)
    sent += size
  }
  const put = await fetch(`${url}/v2/${repository}/manifests/${image.tag}`, {
    method: 'PUT',
    headers: { 'content-type': image.top.mediaType },
    body: await readFile(file(image.top.digest))
  })
  if (put.status !== 201) throw new Error(`the push of the manifest was refused: ${await put.text()}`)
  return sent
}

/** Pulls by tag and compares every digest with what was pushed. */
async function pull(url: string, repository: string, image: Image): Promise<void> {
  const manifest = await fetch(`${url}/v2/${repository}/manifests/${image.tag}`)
  const wanted: [string, Response][] = [[image.top.digest, manifest]]
  if (!manifest.ok) throw new Error(`the pull failed: ${await manifest.text()}`)
  for (const { digest } of blobsOf(image))
    wanted.push([digest, await fetch(`${url}/v2/${repository}/blobs/${digest}`)])
  for (const [digest, response] of wanted) {
    const hash = createHash('sha256')
    for await (const chunk of response.body as ReadableStream<Uint8Array>) hash.update(chunk)
    const found = `sha256:${hash.digest('hex')}`
    if (found !== digest) throw new Error(`${digest} arrived as ${found}`)
    say(`     ${digest.slice(0, 19)}…  the same`)
  }
}

const folder = await mkdtemp(join(tmpdir(), 'seaway-demo-'))
const stack = new AsyncDisposableStack()
stack.defer(() => rm(folder, { recursive: true, force: true }))
try {
  const started = performance.now()
  say('1. A publisher starts a gateway. So does somebody else, with nothing in their store.')
  const dns = await startDnsServer()
  stack.defer(() => dns.stop())
  const settings = { SEAWAY_DNS_SERVERS: dns.address, SEAWAY_DNS_TIMEOUT: '3s' }
  const publisher = await startSeaway({ data: join(folder, 'publisher'), env: settings })
  stack.defer(() => publisher.stop())
  const reader = await startSeaway({ data: join(folder, 'reader'), env: settings })
  stack.defer(() => reader.stop())
  say(`   publisher  ${publisher.url}\n   reader     ${reader.url}\n   DNS        ${dns.address}\n`)

  say('2. Two images are made on the spot. They share their base layer.')
  const base = await makeImage({
    dir: join(folder, 'base'),
    name: 'base:1',
    layers: [{ size: 24 * MiB, seed: 'base' }]
  })
  const app = await makeImage({
    dir: join(folder, 'app'),
    name: 'app:1',
    base,
    layers: [{ size: 6 * MiB, seed: 'app' }, { files: { 'etc/motd': 'ahoy\n' } }]
  })
  const tool = await makeImage({
    dir: join(folder, 'tool'),
    name: 'tool:1',
    base,
    layers: [{ size: 3 * MiB, seed: 'tool' }]
  })
  for (const image of [app, tool])
    say(
      `   ${image.name.padEnd(7)} ${image.layers.length} layers, ${mb(image.layers.reduce((sum, l) => sum + l.size, 0))}`
    )
  say()

  say(`3. The publisher pushes both as ${DOMAIN}/app:1 and ${DOMAIN}/tool:1.`)
  say(`   sent for app:1   ${mb(await push(publisher.url, `${DOMAIN}/app`, app, `${DOMAIN}/tool`))}`)
  say(`   sent for tool:1  ${mb(await push(publisher.url, `${DOMAIN}/tool`, tool, `${DOMAIN}/app`))}`)
  const root = await publisher.root(DOMAIN)
  const records = await publisher.records(DOMAIN, root)
  say(`   root CID         ${root}\n`)

  say('4. The publisher puts the two printed TXT records into DNS.')
  for (const { name, value } of records) say(`   ${name} TXT ${value}`)
  const meter = await startMeter(publisher.swarmPort)
  stack.defer(() => meter.stop())
  for (const { name, value } of records) {
    // The reader is sent through a meter that counts the bytes between the two gateways.
    dns.setTxt(name, [value.replace(`/tcp/${publisher.swarmPort}/`, `/tcp/${meter.port}/`)])
  }
  say()

  say(`5. The reader pulls ${DOMAIN}/app:1: DNS → root CID → the publisher's gateway, every block checked.`)
  await pull(reader.url, `${DOMAIN}/app`, app)
  const first = meter.bytes()
  say(`     ${mb(first)} crossed the wire\n`)

  say(`6. The reader pulls ${DOMAIN}/tool:1, whose base layer it has already.`)
  await pull(reader.url, `${DOMAIN}/tool`, tool)
  const second = meter.bytes() - first
  say(
    `     ${mb(second)} crossed the wire; the shared layer of ${mb(base.layers[0]?.size ?? 0)} did not cross it again\n`
  )
  if (second > 12 * MiB) throw new Error('the shared layer crossed the wire twice')

  say('7. The publisher goes away. The reader goes on serving.')
  await publisher.stop()
  await pull(reader.url, `${DOMAIN}/app`, app)
  say(
    `\nDone in ${((performance.now() - started) / 1000).toFixed(1)} s. With your own images: npm start, then docker push 127.0.0.1:5000/your.domain/app:1`
  )
} catch (error) {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
} finally {
  await stack.disposeAsync()
}
