import { execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const MAIN = join(import.meta.dirname, '../../src/main.js')

/** A gateway in a process of its own. */
export interface SeawayProcess {
  readonly pid: number
  /** `http://127.0.0.1:port` */
  readonly url: string
  /** The TCP port on which peers reach it. */
  readonly swarmPort: number
  /** What it has printed on stdout. */
  output(): string
  /** What `seaway root DOMAIN` prints. */
  root(domain: string): Promise<string>
  /** The TXT records that it printed for `root`, values without quotes. Waits until they are printed. */
  records(domain: string, root: string): Promise<{ name: string; value: string }[]>
  kill(): Promise<void>
  stop(): Promise<void>
}

/** How long a start, a stop and a line of output are waited for, in milliseconds. */
const PATIENCE = 15_000

/** Starts `seaway serve` on free ports of 127.0.0.1, with no settings but those given. */
export async function startSeaway(options: {
  data: string
  env?: Record<string, string>
}): Promise<SeawayProcess> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SEAWAY_'))
  const env = {
    ...Object.fromEntries(inherited),
    SEAWAY_DATA: options.data,
    SEAWAY_LISTEN: '127.0.0.1:0',
    SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0',
    ...options.env
  }
  const child = spawn(process.execPath, [MAIN, 'serve'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-20_000)
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  let gone = false
  void exited.then(() => {
    gone = true
  })

  /** The match of `pattern` in what was printed, as soon as it is there. */
  async function printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (const end = Date.now() + PATIENCE; Date.now() < end && !gone; ) {
      const match = pattern.exec(output)
      if (match !== null) return match
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    child.kill('SIGKILL')
    throw new Error(`the gateway did not print ${pattern}; it printed\n${output}\n${errors}`)
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    child.kill(signal)
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE)
    await exited
    clearTimeout(timer)
  }

  const [, url = ''] = await printed(/listens on (https?:\S+)/)
  const [, swarmPort = ''] = await printed(/\/tcp\/(\d+)\S*\/p2p\//)
  return {
    pid: child.pid as number,
    url,
    swarmPort: Number(swarmPort),
    output: () => output,
    async root(domain) {
      return (await promisify(execFile)(process.execPath, [MAIN, 'root', domain], { env })).stdout.trim()
    },
    async records(domain, root) {
      const escaped = domain.replaceAll('.', String.raw`\.`)
      await printed(new RegExp(`TXT "dnslink=/ipfs/${root}"[^]*\n +${escaped} TXT `))
      const after = output.slice(output.lastIndexOf(`now at root ${root}`))
      return [...after.matchAll(/^ +(\S+[^.\s]) TXT ((?:"(?:[^"\\]|\\.)*" ?)+)$/gm)].map(
        ([, name = '', quoted = '']) => ({
          name,
          value: [...quoted.matchAll(/"((?:[^"\\]|\\.)*)"/g)]
            .map(([, part = '']) => part.replaceAll(/\\(.)/g, '$1'))
            .join('')
        })
      )
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM')
  }
}
