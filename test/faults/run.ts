/**
 * Many pulls, each from several sources to which something happens meanwhile, and at least one to which nothing
 * does. None may come out wrong or hang, and each has to succeed at once: the client never tries again.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bind, startBind } from '../e2e/support/bind.ts'
import { type Client, docker, skopeo } from '../e2e/support/clients.ts'
import { freePort } from '../e2e/support/daemon.ts'
import { startDocker } from '../e2e/support/docker.ts'
import { type SeawayGateway, startGateway } from '../e2e/support/gateway.ts'
import { type Image, makeImage } from '../e2e/support/images.ts'
import { run, tempDir } from '../e2e/support/process.ts'
import { digestOf, repository } from '../e2e/support/wire.ts'
import { type Random, randomOf } from '../fuzz/random.ts'
import { type Fault, type FaultRelay, startFaultRelay } from './fault-relay.ts'

const MiB = 1024 * 1024
const DOMAIN = 'ships.example'

/** Gateways that have the images; images; and pulls through one gateway, each of another image. */
const SOURCES = 3
const IMAGES = 20
/** Every so many pulls are done by a real client: docker, and skopeo, which gives up at the first thing that goes
 * wrong, in turn. */
const BY_CLIENT = 10

/** The puller's deadlines, and what a pull may take in all: more is a hang. In milliseconds. */
const DEADLINES = {
  SEAWAY_DIAL_TIMEOUT: '2s',
  SEAWAY_BLOCK_TIMEOUT: '3s',
  SEAWAY_IDLE_TIMEOUT: '6s',
  SEAWAY_PULL_TIMEOUT: '30s'
}
const HANG_MS = 90_000

/** What came of {@link runFaults}. */
export interface FaultsReport {
  pulls: number
  seed: number
  /** Pulls whose bytes were not what their digests say. */
  corrupt: string[]
  /** Pulls that took longer than all deadlines together. */
  hung: string[]
  /** Pulls that failed though a source was alive. */
  failed: string[]
  /** How often each fault was there. */
  faults: Record<string, number>
  /** Milliseconds: the median and the longest pull. */
  median: number
  longest: number
  /** Pulls by each real client. */
  by: Record<string, number>
}

const healthy: Fault = { kind: 'none' }

interface Source {
  gateway: SeawayGateway
  relays: FaultRelay[]
  /** For `ipfsnode=`, through the relays. */
  addresses: string[]
  killed: boolean
}

/** Runs it, printing a line every hundred pulls. */
export async function runFaults(options: {
  pulls: number
  seed: number
  print?: (line: string) => void
}): Promise<FaultsReport> {
  const { pulls, seed, print = () => {} } = options
  const stack = new AsyncDisposableStack()
  const temp = tempDir('faults')
  stack.defer(() => temp.remove())
  const folder = (name: string): string => join(temp.path, name)
  try {
    const bind: Bind = await startBind({ dir: folder('named'), zones: { [DOMAIN]: [] } })
    stack.defer(() => bind.stop())
    const images: Image[] = []
    for (let i = 0; i < IMAGES; i++) {
      const layers = [{ size: (i % 5) * MiB + 300_000 + i, seed: `layer ${i}` }]
      images.push(await makeImage({ dir: folder(`image${i}`), name: `${DOMAIN}/app:${i}`, layers }))
    }
    const publisher = await skopeo({ dir: folder('publisher') })
    const sources: Source[] = []
    for (let i = 0; i < SOURCES; i++) sources.push(await startSource(i))
    stack.defer(async () => {
      for (const { gateway, relays } of sources) {
        await gateway.stop()
        for (const relay of relays) await relay.stop()
      }
    })
    const [first] = sources as [Source]
    const root = await first.gateway.root(DOMAIN)
    await bind.setTxt(DOMAIN, {
      _dnslink: `dnslink=/ipfs/${root}`,
      '@': sources.flatMap(({ addresses }) => addresses.map((address) => `ipfsnode=${address}`))
    })
    const engine = await startDocker({ dir: folder('d') })
    stack.defer(() => engine.stop())
    return await rounds([docker(engine), await skopeo({ dir: folder('skopeo') })])

    async function startSource(index: number): Promise<Source> {
      const ports = { swarm: await freePort(), seed: await freePort() }
      const env = {
        SEAWAY_PUSH_BASE: 'empty',
        SEAWAY_SWARM_LISTEN: `/ip4/127.0.0.1/tcp/${ports.swarm}`,
        SEAWAY_SEED_LISTEN: `127.0.0.1:${ports.seed}`
      }
      const start = (): Promise<SeawayGateway> => startGateway({ dir: folder(`source${index}`), env })
      const source: Source = { gateway: await start(), relays: [], addresses: [], killed: false }
      const kill = (): void => {
        source.killed = true
        source.gateway.daemon.kill('SIGKILL')
      }
      for (const port of Object.values(ports)) source.relays.push(await startFaultRelay(port, kill))
      const [swarm, http] = source.relays as [FaultRelay, FaultRelay]
      const id = source.gateway.peers[0]?.split('/p2p/')[1]
      // one by HTTP only, one by libp2p only, one both ways
      if (index !== 1) source.addresses.push(`/ip4/127.0.0.1/tcp/${http.port}/http/p2p/${id}`)
      if (index !== 0) source.addresses.push(`/ip4/127.0.0.1/tcp/${swarm.port}/p2p/${id}`)
      for (const image of images) await publisher.push(image, `${source.gateway.host}/${image.name}`)
      return source
    }

    function anyFault({ below, pick }: Random): Fault {
      const after = below(6 * MiB)
      const kinds: Fault[] = [
        { kind: 'none' },
        { kind: 'refuse' },
        { kind: 'cut', after },
        { kind: 'cut', after: below(2000) },
        { kind: 'stall', after },
        { kind: 'stall', after: below(2000) },
        { kind: 'corrupt', after },
        { kind: 'slow', rate: 1000 + below(200_000) },
        { kind: 'kill', after }
      ]
      return pick(kinds)
    }

    async function rounds(clients: readonly Client[]): Promise<FaultsReport> {
      const report: FaultsReport = {
        pulls,
        seed,
        corrupt: [],
        hung: [],
        failed: [],
        faults: {},
        median: 0,
        longest: 0,
        by: {}
      }
      const times: number[] = []
      for (let done = 0; done < pulls; ) {
        const dir = folder(`puller${done}`)
        await mkdir(dir, { recursive: true })
        const through = await startGateway({ dir, dns: bind.server, env: DEADLINES })
        try {
          for (let i = 0; i < IMAGES && done < pulls; i++, done++) {
            const random = randomOf(seed, done)
            const alive = random.below(SOURCES)
            const faults = sources.map((_, index) => (index === alive ? healthy : anyFault(random)))
            for (const [index, fault] of faults.entries()) {
              for (const relay of sources[index]?.relays ?? []) relay.set(fault)
              report.faults[fault.kind] = (report.faults[fault.kind] ?? 0) + 1
            }
            const what = `pull ${done} of image ${i}, ${JSON.stringify(faults)}`
            const begun = performance.now()
            const client = done % BY_CLIENT === 0 ? clients[(done / BY_CLIENT) % clients.length] : undefined
            if (client !== undefined) report.by[client.name] = (report.by[client.name] ?? 0) + 1
            try {
              const image = images[i] as Image
              if (client !== undefined) await pullBy(client, through.host, image)
              else await pull(through.url, `${DOMAIN}/app`, image.tag)
            } catch (error) {
              const { message: said, cause } = error as Error
              const message = cause instanceof Error ? `${said}: ${cause.message}` : said
              const list = /not done after|TimeoutError|aborted due to timeout/.test(message)
                ? report.hung
                : message.includes('is not what its digest says')
                  ? report.corrupt
                  : report.failed
              list.push(`${what}: ${message}`)
              print(`${what}: ${message}\n${through.daemon.logTail(5)}`)
            }
            times.push(performance.now() - begun)
            for (const source of sources) await revive(source)
            if ((done + 1) % 100 === 0) print(`${done + 1} pulls, ${report.failed.length} failed`)
          }
        } finally {
          await through.stop()
          await run('rm', ['-rf', dir])
        }
      }
      times.sort((a, b) => a - b)
      return { ...report, median: times[times.length >> 1] ?? 0, longest: times.at(-1) ?? 0 }
    }

    /** Starts a source again that was killed. */
    async function revive(source: Source): Promise<void> {
      for (const relay of source.relays) relay.set(healthy)
      if (!source.killed) return
      await source.gateway.daemon.exited
      source.killed = false
      const index = sources.indexOf(source)
      const ports = source.gateway.peers.map((peer) => /tcp\/(\d+)\/(http)?/.exec(peer))
      const port = (http: boolean): string =>
        ports.find((match) => (match?.[2] === 'http') === http)?.[1] ?? ''
      source.gateway = await startGateway({
        dir: folder(`source${index}`),
        env: {
          SEAWAY_PUSH_BASE: 'empty',
          SEAWAY_SWARM_LISTEN: `/ip4/127.0.0.1/tcp/${port(false)}`,
          SEAWAY_SEED_LISTEN: `127.0.0.1:${port(true)}`
        }
      })
    }
  } finally {
    await stack.disposeAsync()
  }
}

/** Pulls with a real client, which checks every digest, and looks whether it has what was pushed. */
async function pullBy(client: Client, host: string, { name, diffIds }: Image): Promise<void> {
  const pulled = await client.pull(`${host}/${name}`, { timeout: HANG_MS })
  if (pulled.diffIds.join() !== diffIds.join())
    throw new Error(`${name} by ${client.name} is not what its digest says: ${pulled.diffIds.join()}`)
}

/** Pulls as docker does, but once: the manifest, then everything that it names at the same time. */
async function pull(url: string, name: string, tag: string): Promise<void> {
  const signal = AbortSignal.timeout(HANG_MS)
  const image = repository(url, name)
  const answer = await image.getManifest(tag, signal)
  if (!answer.ok) throw new Error(`manifest: ${answer.status} ${await answer.text()}`)
  const bytes = Buffer.from(await answer.arrayBuffer())
  const said = answer.headers.get('docker-content-digest')
  if ((await digestOf(bytes)) !== said) throw new Error('the manifest is not what its digest says')
  const { config, layers } = JSON.parse(bytes.toString()) as Record<'config', { digest: string }> & {
    layers: { digest: string }[]
  }
  const blobs = [config, ...layers].map(async ({ digest }) => {
    const blob = await image.getBlob(digest, { signal })
    if (!blob.ok) throw new Error(`blob: ${blob.status} ${await blob.text()}`)
    const found = await digestOf(blob.body as unknown as AsyncIterable<Uint8Array>)
    if (found !== digest) throw new Error(`${digest} is not what its digest says`)
  })
  await Promise.all(blobs)
}
