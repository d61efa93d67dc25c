/** A Kubo node of the test's own: the other implementation of IPFS, as a peer to fetch from and to serve. */
import { join } from 'node:path'
import { type Daemon, freePort, spawnDaemon } from './daemon.ts'
import { need, type RunOptions, type RunResult, run } from './process.ts'

/** What {@link startKubo} starts. */
export interface KuboOptions {
  dir: string
  /** Configuration by its keys, on top of what the test bed sets. */
  settings?: Record<string, unknown>
  env?: Record<string, string>
  /** The address it listens on for its swarm, 127.0.0.1 unless told. */
  host?: string
  /** Words in front of the command, to run it in a network namespace for one. */
  prefix?: readonly string[]
  signal?: AbortSignal
}

/** A Kubo node that runs. */
export interface Kubo {
  readonly peerId: string
  /** Its swarm address with the peer id, as an `ipfsnode=` record holds it. */
  readonly multiaddr: string
  /** Its trustless gateway, `http://127.0.0.1:<port>`. */
  readonly gateway: string
  readonly daemon: Daemon
  /** Its trustless gateway as an address for `ipfsnode=`, without the peer id. */
  readonly http: string
  /** How many blocks it has sent and received over bitswap so far. */
  bitswap(): Promise<{ sent: number; received: number }>
  /** Runs `ipfs` against this node. */
  ipfs(args: string[], options?: RunOptions): Promise<RunResult>
  stop(): Promise<void>
}

/**
 * Starts a Kubo node that knows nobody and looks for nobody: no bootstrap, routing, mDNS, relays,
 * automatic configuration, certificates, version check or telemetry. Only who is told its address, or
 * whose address it is told with `swarm connect`, talks to it. Its gateway serves its own blocks only,
 * over HTTP and over libp2p (`/http/1.1`).
 */
export async function startKubo(options: KuboOptions): Promise<Kubo> {
  const { dir, host = '127.0.0.1', prefix = [], signal } = options
  const env = { IPFS_PATH: join(dir, 'repo'), IPFS_TELEMETRY: 'off', HOME: dir, ...options.env }
  const ipfs = (args: string[], more: RunOptions = {}): Promise<RunResult> => {
    const [command = '', ...rest] = [...prefix, need('ipfs'), ...args]
    return run(command, rest, { signal, ...more, env: { ...env, ...more.env } })
  }
  const [swarm, api, gateway] = [await freePort(), await freePort(), await freePort()]
  await run('mkdir', ['-p', dir], { signal })
  await ipfs(['init', '--empty-repo', '--profile', 'test'])
  const settings: Record<string, unknown> = {
    'Addresses.Swarm': [`/ip4/${host}/tcp/${swarm}`],
    'Addresses.API': `/ip4/127.0.0.1/tcp/${api}`,
    'Addresses.Gateway': `/ip4/127.0.0.1/tcp/${gateway}`,
    Bootstrap: [],
    'Routing.Type': 'none',
    'Discovery.MDNS.Enabled': false,
    'AutoConf.Enabled': false,
    'AutoTLS.Enabled': false,
    'AutoNAT.ServiceMode': 'disabled',
    'DNS.Resolvers': {},
    'Routing.DelegatedRouters': [],
    'Ipns.DelegatedPublishers': [],
    'Swarm.DisableNatPortMap': true,
    'Swarm.RelayClient.Enabled': false,
    'Swarm.RelayService.Enabled': false,
    'Swarm.EnableHolePunching': false,
    'Version.SwarmCheckEnabled': false,
    'Gateway.NoFetch': true,
    'Experimental.GatewayOverLibp2p': true,
    ...options.settings
  }
  for (const [key, value] of Object.entries(settings))
    await ipfs(['config', '--json', key, JSON.stringify(value)])
  const peerId = (await ipfs(['config', 'Identity.PeerID'])).stdout.trim()

  const [command, ...args] = [...prefix, need('ipfs'), 'daemon']
  const daemon = await spawnDaemon({
    name: 'kubo',
    command,
    args,
    dir,
    env,
    signal,
    // asked by the program, as its port may be in a namespace of its own; through the port alone, for otherwise
    // the program takes the repository for itself
    ready: async () => {
      const asked = ['--api', `/ip4/127.0.0.1/tcp/${api}`, 'swarm', 'addrs', 'local']
      return (await ipfs(asked, { allowFailure: true })).status === 0
    }
  })
  return {
    peerId,
    multiaddr: `/ip4/${host}/tcp/${swarm}/p2p/${peerId}`,
    gateway: `http://127.0.0.1:${gateway}`,
    http: `/ip4/127.0.0.1/tcp/${gateway}/http`,
    async bitswap() {
      const { stdout } = await ipfs(['stats', 'bitswap', '--enc=json'])
      const { BlocksSent, BlocksReceived } = JSON.parse(stdout) as Record<
        'BlocksSent' | 'BlocksReceived',
        number
      >
      return { sent: BlocksSent, received: BlocksReceived }
    },
    daemon,
    ipfs,
    stop: () => daemon.stop()
  }
}
