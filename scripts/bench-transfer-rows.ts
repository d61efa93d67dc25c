/** What `bench-transfer.ts` measures: each way that a layer comes through a process with nothing in it. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { startKubo } from '../test/e2e/support/kubo.ts'
import { available } from '../test/e2e/support/process.ts'
import type { startDnsServer } from '../test/support/dns-server.ts'
import { startSeaway } from '../test/support/seaway-process.ts'
import { download, type Layer, pathOf, REPOSITORY } from './bench-transfer-image.ts'
import { HOST, type Link } from './bench-transfer-link.ts'
import { measured, type Role, startRole, type Used } from './bench-transfer-process.ts'

/** One pull: MB/s, ms to the manifest, from there to the layer's first byte, and from the beginning to its end. */
export interface Figures extends Used {
  rate: number
  manifest: number
  first: number
  whole: number
}

/** What is measured. */
export interface Row {
  readonly key: string
  readonly name: string
  /** Whether it is a way of ours that has a goal, so that it is measured in every round. */
  readonly ours: boolean
  pull(): Promise<Figures>
}

/** What rows are made from. */
export interface Bench {
  /** What is pulled before what is measured. */
  readonly base: Layer
  readonly layer: Layer
  readonly cid: string
  readonly root: string
  /** The publisher's data folder, and the same for another process. */
  readonly data: string
  readonly copy: string
  /** For all else. */
  readonly temp: string
  readonly dns: Awaited<ReturnType<typeof startDnsServer>>
  /** Where profiles go; empty for none. */
  readonly profiles: string
  /** Whether Kubo is wanted, for it is started whether it is measured or not. */
  readonly kubo: boolean
  /** What is to be stopped in the end, last first. */
  readonly running: { stop(): Promise<void> }[]
}

/** As `ipfs add` has to be told so that it makes our CID. */
const ADD = [
  'add',
  '-Q',
  '--cid-version=1',
  '--raw-leaves',
  '--chunker=size-1048576',
  '--max-file-links=1024'
]

/** The rows of one kind of network; `link` stands between the two sides if there is one. */
export async function rowsOf(bench: Bench, link: Link | undefined): Promise<Row[]> {
  const { base, layer, cid, root, data, copy, temp, dns, profiles, running } = bench
  const host = link === undefined ? '127.0.0.1' : HOST
  const keep = <T extends { stop(): Promise<void> }>(one: T): T => {
    running.push(one)
    return one
  }
  const profiled = (side: string): Record<string, string> =>
    profiles === '' ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${join(profiles, side)}` }
  /** A TCP address as the other side sees it. */
  const seen = async (port: number) => (link === undefined ? { host, port } : link.through(port))
  const ports = new Map<number, { host: string; port: number }>()
  async function reachable(address: string): Promise<string> {
    const port = Number(/\/tcp\/(\d+)/.exec(address)?.[1])
    const at = ports.get(port) ?? (await seen(port))
    ports.set(port, at)
    return address.replace(/^\/ip4\/[^/]+\/tcp\/\d+/, `/ip4/${at.host}/tcp/${at.port}`)
  }

  const env = { SEAWAY_DNS_SERVERS: dns.address, SEAWAY_LOG_LEVEL: 'error' }
  const reached = { SEAWAY_SEED_LISTEN: `${host}:0`, SEAWAY_SWARM_LISTEN: `/ip4/${host}/tcp/0` }
  const publisher = keep(await startSeaway({ data, env: { ...env, ...reached, ...profiled('there') } }))
  const addresses = [...publisher.output().matchAll(/\/ip4\/\S+\/p2p\/\w+/g)].map(([text]) => text)
  const file = keep(await startRole(['file', join(data, ...pathOf(layer)), host]))
  const { host: fileHost, port: filePort } = await seen(file.said['port'] as number)
  const bitswap = keep(await startRole(['bitswap', copy, host]))
  const bitswapAt = await Promise.all((bitswap.said['addresses'] as string[]).map(reachable))
  const overHttp = await Promise.all(addresses.filter((each) => each.includes('/http')).map(reachable))
  const overStreams = await Promise.all(addresses.filter((each) => !each.includes('/http')).map(reachable))

  /** A pull through a new gateway with an empty store, from the peers at `providers`. */
  async function cold(name: string, providers: readonly string[], pid: number): Promise<Figures> {
    dns.setTxt(`_dnslink.${name}.example`, [`dnslink=/ipfs/${root}`])
    dns.setTxt(`${name}.example`, [`ipfsnode=${JSON.stringify(providers)}`])
    const folder = join(temp, `cold-${name}`)
    const gateway = await startSeaway({ data: folder, env: { ...env, ...profiled(`here-${name}`) } })
    const image = `${gateway.url}/v2/${name}.example/${REPOSITORY}`
    try {
      return await measured(gateway.pid, pid, async () => {
        const begun = performance.now()
        const said = await fetch(`${image}/manifests/1`)
        if (said.status !== 200) throw new Error(`${said.status} ${await said.text()}`)
        await said.arrayBuffer()
        const manifest = performance.now() - begun
        await download(`${image}/blobs/${base.digest}`, base)
        const figures = await download(`${image}/blobs/${layer.digest}`, layer)
        return { ...figures, manifest, whole: manifest + layer.size / 1e3 / figures.rate }
      })
    } finally {
      await gateway.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }

  /** A download where there is no manifest. */
  async function plainly(url: string) {
    const { rate, first } = await download(url, layer)
    return { rate, first, manifest: 0, whole: layer.size / 1e3 / rate }
  }

  async function through(role: Role, there: number): Promise<Figures> {
    try {
      return await measured(role.pid, there, () => plainly(String(role.said['url'])))
    } finally {
      await role.stop()
    }
  }

  const row = (key: string, name: string, ours: boolean, pull: Row['pull']): Row => ({
    key,
    name,
    ours,
    pull
  })
  const rows = [
    row('plain', 'plain HTTP, unverified', true, async () =>
      through(await startRole(['proxy', `http://${fileHost}:${filePort}/`]), file.pid)
    ),
    row('http', 'Seaway, CAR over HTTP', true, () => cold('http', overHttp, publisher.pid)),
    row('stream', 'Seaway, CAR over libp2p', true, () => cold('stream', overStreams, publisher.pid)),
    row('bitswap', 'Seaway, bitswap', false, () => cold('bitswap', bitswapAt, bitswap.pid)),
    row('helia', "Helia's bitswap and unixfs", false, async () =>
      through(await startRole(['helia', bitswapAt[0] ?? '', cid]), bitswap.pid)
    )
  ]
  if (!bench.kubo || !available('ipfs')) return rows

  const has = keep(await startKubo({ dir: join(temp, `kubo-${host}`), host }))
  const added = await has.ipfs([...ADD, join(data, ...pathOf(layer))], { timeout: 120_000 })
  if (added.stdout.trim() !== cid) throw new Error(`Kubo says ${added.stdout.trim()}, not ${cid}`)
  const at = await reachable(has.multiaddr)
  let turn = 0
  const kubo = row('kubo', 'Kubo ← Kubo', false, async () => {
    const dir = join(temp, `kubo-cold-${host}-${turn++}`)
    const wants = await startKubo({ dir, settings: { 'Gateway.NoFetch': false } })
    try {
      await wants.ipfs(['swarm', 'connect', at], { timeout: 30_000 })
      const [here, there] = [wants.daemon.pid, has.daemon.pid]
      return await measured(here, there, () => plainly(`${wants.gateway}/ipfs/${cid}`))
    } finally {
      await wants.stop()
      rmSync(dir, { recursive: true, force: true })
    }
  })
  return [...rows, kubo]
}
