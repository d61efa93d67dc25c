/** The gateway under test: a process of its own, as its users run it, with what it printed and what it used. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Daemon, spawnDaemon, waitFor } from './daemon.ts'
import { type RunOptions, type RunResult, run } from './process.ts'

const MAIN = fileURLToPath(new URL('../../../src/main.js', import.meta.url))

/** What {@link startGateway} starts. */
export interface GatewayOptions {
  /** The folder for the data folder and the log. The same one again is a restart. */
  dir: string
  /** `127.0.0.1:<port>` of the name server to ask. Unless told, one that refuses: nothing is looked up outside. */
  dns?: string
  /** The data folder, `<dir>/data` unless told. */
  data?: string
  /** Further settings by their variables, `SEAWAY_LOG_LEVEL` for one. */
  env?: Record<string, string | undefined>
  /** Words in front of the command, to run it in a network namespace for one. */
  prefix?: readonly string[]
  signal?: AbortSignal
}

/** A gateway that runs. */
export interface SeawayGateway {
  readonly url: string
  /** `127.0.0.1:<port>`, as an image's name begins. */
  readonly host: string
  readonly data: string
  /** The multiaddrs that it printed at its start. */
  readonly peers: readonly string[]
  readonly daemon: Daemon
  /** Everything that it printed since this start, without what it logged. */
  lines(): Promise<string[]>
  /** What it logged since this start. */
  logged(): Promise<Record<string, unknown>[]>
  /** What `seaway root DOMAIN` prints. */
  root(domain: string): Promise<string>
  /**
   * The zone-file lines of the domain's current root, as the gateway printed them after the push: waits
   * for them where they are not printed yet.
   */
  records(domain: string): Promise<string[]>
  /** Runs another `seaway` command on the same data folder. */
  seaway(args: string[], options?: RunOptions): Promise<RunResult>
  /** The most memory that the process had so far, in bytes (VmHWM). */
  peakMemory(): Promise<number>
  /** A crash: `kill -9`, and waits for the end. */
  kill(): Promise<void>
  /** Asks it to end, as Ctrl+C does, and waits. */
  stop(): Promise<void>
}

/** Settings as a test machine needs them: loopback only, free ports, nothing of the environment's own. */
export function gatewayEnv(
  data: string,
  dns = '127.0.0.1:1',
  more: Record<string, string | undefined> = {}
): Record<string, string | undefined> {
  // A variable that is no setting is refused, and the test bed has some of its own.
  const inherited = Object.keys(process.env).filter((name) => name.startsWith('SEAWAY_'))
  return {
    ...Object.fromEntries(inherited.map((name) => [name, undefined])),
    SEAWAY_LISTEN: '127.0.0.1:0',
    SEAWAY_DATA: data,
    SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws',
    SEAWAY_DNS_SERVERS: dns,
    ...more
  }
}

/** Runs one `seaway` command to its end, with {@link gatewayEnv}. */
export function runSeaway(
  args: string[],
  env: Record<string, string | undefined>,
  options: RunOptions = {}
): Promise<RunResult> {
  return run(process.execPath, [MAIN, ...args], { ...options, env })
}

/** Starts `seaway serve` and resolves once it says that it listens. */
export async function startGateway(options: GatewayOptions): Promise<SeawayGateway> {
  const { dir, data = join(dir, 'data') } = options
  const env = gatewayEnv(data, options.dns, options.env)
  const logFile = join(dir, 'seaway.log')
  // A restart appends to the log of the process before it.
  const skip = (await readFile(logFile).catch(() => Buffer.alloc(0))).length
  const output = async (): Promise<string[]> => {
    const text = (await readFile(logFile)).subarray(skip).toString()
    return text.split('\n').slice(0, -1)
  }
  const lines = async (): Promise<string[]> => (await output()).filter((line) => !line.startsWith('{'))

  const [command, ...args] = [...(options.prefix ?? []), process.execPath, MAIN, 'serve']
  const daemon = await spawnDaemon({
    name: 'seaway',
    command,
    args,
    dir,
    env,
    signal: options.signal,
    // The blank line ends what it prints when it is ready.
    ready: async () => {
      const printed = await lines()
      return printed.indexOf('', printed.findIndex((line) => line.startsWith('  data')) + 1) > 4
    }
  })

  const printed = await lines()
  const url = /^Seaway listens on (https?:\S+)$/.exec(printed[0] ?? '')?.[1]
  if (url === undefined) throw new Error(`not what a gateway prints first: ${printed[0]}`)
  const seaway: SeawayGateway['seaway'] = (args, more) => runSeaway(args, env, more)
  const root: SeawayGateway['root'] = async (domain) => (await seaway(['root', domain])).stdout.trim()

  return {
    url,
    host: new URL(url).host,
    data,
    peers: printed.slice(0, printed.indexOf('', 2)).flatMap((line) => line.match(/\/ip4\/\S+$/) ?? []),
    daemon,
    lines,
    root,
    seaway,
    async logged() {
      return (await output()).filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
    },
    async records(domain) {
      const head = `${domain} is now at root ${await root(domain)}`
      let found: string[] = []
      await waitFor(`the gateway to print '${head}'`, async () => {
        const all = await lines()
        const at = all.lastIndexOf(head)
        const zone = all.indexOf('  the same as lines of a zone file:', at) + 2
        const end = all.indexOf('', zone)
        if (at < 0 || zone < 2 || end < 0) return false
        found = all.slice(zone, end).map((line) => line.trim())
        return true
      })
      return found
    },
    async peakMemory() {
      const status = await readFile(`/proc/${daemon.pid}/status`, 'utf8')
      return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
    },
    async kill() {
      daemon.kill('SIGKILL')
      await daemon.exited
    },
    stop: () => daemon.stop()
  }
}
