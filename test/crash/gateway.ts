/** The gateway as a crash test needs it: started in a moment, killed in none, with code of the test's in it if need be. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { gatewayEnv } from '../e2e/support/gateway.ts'
import { cleanEnv, killGroup, need, tied, track } from '../e2e/support/process.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')

/** How long a start may take, in milliseconds; the machine may be busy. */
const PATIENCE = 60_000

/** How a {@link CrashGateway} is started. */
export interface StartOptions {
  readonly data: string
  /** Settings by their variables. */
  readonly env?: Record<string, string | undefined>
  /** A module that is loaded before the gateway's own: how a test breaks something in it. */
  readonly load?: string
  /** A program with its arguments that runs the gateway: `strace …`. */
  readonly under?: readonly string[]
  /** Called with the process group as soon as there is one, to kill it before it has started. */
  readonly spawned?: (group: number) => void
}

/** A gateway that runs. */
export interface CrashGateway {
  readonly port: number
  readonly data: string
  /** Ends it as `kill -9` does, and waits for that. */
  kill(): Promise<void>
  /** Asks it to end, and waits. */
  stop(): Promise<void>
  /** Whether it has ended. */
  ended(): boolean
  /** The end of what it said. */
  said(): string
}

/** Starts the gateway; `undefined` when it was killed before it listened. Throws when it ends by itself. */
export async function startCrashGateway(options: StartOptions): Promise<CrashGateway | undefined> {
  const { data, env = {}, load, under = [] } = options
  const own = [process.execPath, ...(load === undefined ? [] : ['--import', load]), MAIN, 'serve']
  const [command = '', ...args] = [...under, ...own]
  // The kernel kills it when the test goes away, whatever way that ends.
  const child: ChildProcess = spawn(need('setpriv'), tied('KILL', command, args), {
    env: cleanEnv(
      gatewayEnv(data, undefined, {
        SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0',
        SEAWAY_LOG_LEVEL: 'warn',
        ...env
      })
    ),
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const exited = once(child, 'exit').then(([, signal]) => signal as string | null)
  const untrack = track(child.pid)
  let gone = false
  let said = ''
  void exited.then(() => {
    gone = true
    untrack()
  })
  const listening = new Promise<number>((resolve) => {
    const hear = (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000)
      const port = /Seaway listens on http:\/\/[^\n]*:(\d+)\n/.exec(said)?.[1]
      if (port !== undefined) resolve(Number(port))
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
  })
  options.spawned?.(child.pid as number)
  const timer = setTimeout(() => killGroup(child.pid, 'SIGTERM'), PATIENCE)
  const port = await Promise.race([listening, exited])
  clearTimeout(timer)
  if (port === 'SIGKILL') return undefined
  if (typeof port !== 'number') throw new Error(`the gateway did not start on ${data}; it said\n${said}`)
  const end = async (signal: NodeJS.Signals) => {
    killGroup(child.pid, signal)
    await exited
  }
  return {
    port,
    data,
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    ended: () => gone,
    said: () => said
  }
}
