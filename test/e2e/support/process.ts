/**
 * Programs as the end-to-end tests use them: run to the end, or kept as a daemon. Nothing started here
 * outlives the test process, whatever way that ends.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { accessSync, constants, mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/** Where `scripts/install-peers.sh` puts the programs that it builds. */
export const toolsBin: string = join(
  process.env.SEAWAY_TOOLS ?? join(homedir(), '.cache/seaway-tools'),
  'bin'
)

/** Our own tools first; the daemons' folders last, because root's PATH lacks them on some machines. */
const searchPath = [toolsBin, ...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']

/** Variables that would make a peer talk to something else than what a test tells it. */
const UNWANTED =
  /^(docker_|containers?_|registry_|buildah_|regctl_|ipfs_|https?_proxy$|no_proxy$|all_proxy$)/i

/** The test's environment without what would steer a peer, with `PATH` completed and `extra` on top. */
export function cleanEnv(extra: Record<string, string | undefined> = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([key]) => !UNWANTED.test(key))
  return { ...Object.fromEntries(inherited), PATH: searchPath.join(delimiter), LC_ALL: 'C.UTF-8', ...extra }
}

/**
 * The full path of `command`, or undefined where it is not installed. `docker` is always Debian's, for
 * another client comes first on some machines and speaks an API that Debian's engine is too old for.
 */
export function which(command: string): string | undefined {
  if (command.includes('/')) return command
  for (const folder of command === 'docker' ? ['/usr/bin'] : searchPath) {
    try {
      accessSync(join(folder, command), constants.X_OK)
      return join(folder, command)
    } catch {}
  }
  return undefined
}

/** The full path of `command`; the error of a missing one says how to get it. */
export function need(command: string): string {
  const path = which(command)
  if (path === undefined) throw new Error(`${command} is not installed; run scripts/install-peers.sh`)
  return path
}

/** How {@link run} runs a program. */
export interface RunOptions {
  env?: Record<string, string | undefined>
  cwd?: string
  input?: string | Uint8Array | Readable
  /** Milliseconds until the program is killed and `run` throws; two minutes unless told. */
  timeout?: number
  signal?: AbortSignal
  /** Resolve whatever the exit status is. */
  allowFailure?: boolean
}

/** What a program printed and how it ended; a program killed by a signal has status 128. */
export interface RunResult {
  stdout: string
  stderr: string
  status: number
}

/** Arguments of `setpriv` that run a program which the kernel sends `signal` when this process dies. */
export function tied(signal: 'KILL' | 'TERM', command: string, args: string[]): string[] {
  return ['--pdeathsig', signal, '--', need(command), ...args]
}

const tail = (text: string, lines = 30): string => text.trimEnd().split('\n').slice(-lines).join('\n')

/**
 * Runs a program to its end. Throws when it cannot start, takes longer than `timeout`, is aborted, or
 * (without `allowFailure`) ends with another status than 0; the message carries the end of its stderr.
 */
export async function run(command: string, args: string[], options: RunOptions = {}): Promise<RunResult> {
  const { timeout = 120_000, signal } = options
  const shown = [command, ...args].join(' ').slice(0, 400)
  const child = spawn(need('setpriv'), tied('KILL', command, args), {
    cwd: options.cwd,
    env: cleanEnv(options.env),
    detached: true,
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe']
  })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
  const closed = new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 128))
  })
  const untrack = track(child.pid)
  let late = false
  const kill = (): void => killGroup(child.pid, 'SIGKILL')
  const timer = setTimeout(() => {
    late = true
    kill()
  }, timeout)
  signal?.addEventListener('abort', kill, { once: true })
  if (signal?.aborted) kill()
  try {
    if (child.stdin && options.input !== undefined) {
      const { input } = options
      // A program may end before it has read everything; its status then says whether that was a failure.
      pipeline(input instanceof Readable ? input : Readable.from([input]), child.stdin).catch(() => {})
    }
    const status = await closed
    const result = {
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
      status
    }
    const output = tail(result.stderr || result.stdout)
    signal?.throwIfAborted()
    if (late) throw new Error(`${shown}: not done after ${timeout} ms\n${output}`)
    if (status !== 0 && !options.allowFailure) throw new Error(`${shown}: exit status ${status}\n${output}`)
    return result
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', kill)
    untrack()
  }
}

/** Sends a signal to a process group of ours; one that has ended is fine. */
export function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

const alive = new Set<number>()
let watching = false

/** Kills the group of `pid` when this process ends before the returned function was called. */
export function track(pid: number | undefined): () => void {
  if (pid === undefined) return () => {}
  if (!watching) {
    watching = true
    process.on('exit', () => {
      for (const each of alive) killGroup(each, 'SIGKILL')
    })
  }
  alive.add(pid)
  return () => alive.delete(pid)
}

/** A new folder for one test; `remove()` deletes it with all it holds. */
export interface TempDir {
  path: string
  remove(): Promise<void>
}

/**
 * Makes a {@link TempDir}. Its path is short, since Unix sockets below it have room for 107 bytes in all,
 * and in lower case, since podman and buildah name an image after the folder that they read it from.
 */
export function tempDir(name = 'e2e'): TempDir {
  const path = join(tmpdir(), `sw-${name}-${randomBytes(4).toString('hex')}`)
  mkdirSync(path, { mode: 0o755 })
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }) }
}

/**
 * Whether all these programs are installed. Where one is not, says so loudly, so that the caller can
 * skip its test; in CI, where nothing may be skipped in silence, it throws instead.
 */
export function available(...commands: string[]): boolean {
  const missing = commands.filter((command) => which(command) === undefined)
  if (missing.length === 0) return true
  const message = `NOT INSTALLED: ${missing.join(', ')}; run scripts/install-peers.sh`
  if (process.env.CI) throw new Error(message)
  console.error(`\n!!! ${message}; what needs it is skipped\n`)
  return false
}
