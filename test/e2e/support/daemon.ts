/** Daemons for the end-to-end tests: started with a log file, waited for, ended with everything they left. */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanEnv, killGroup, need, run, tied, track } from './process.ts'

/** What {@link spawnDaemon} starts and how it knows that it is ready. */
export interface DaemonOptions {
  name: string
  command: string
  args: string[]
  /** Where its log goes, as `<name>.log`. */
  dir: string
  env?: Record<string, string | undefined>
  cwd?: string
  /** Asked again and again until it answers true; a rejection counts as 'not yet'. */
  ready: (signal: AbortSignal) => Promise<boolean>
  /** Milliseconds until a daemon that is not ready is given up; 30 s unless told. */
  deadline?: number
  signal?: AbortSignal
}

/** A daemon that runs. */
export interface Daemon {
  readonly pid: number
  /** The file with everything it printed. */
  readonly logFile: string
  /** Its exit status once it has ended, 128 where a signal ended it. */
  readonly exited: Promise<number>
  /** The last lines of its log. */
  logTail(lines?: number): string
  /** Sends a signal to it and to what it started in its process group: `kill('SIGKILL')` is a crash. */
  kill(signal: NodeJS.Signals): void
  /** Asks it to end, kills it where it does not within ten seconds, and waits. May be called twice. */
  stop(): Promise<void>
}

/**
 * Starts a daemon and resolves once it is ready. Where it ends early or is not ready by the deadline,
 * it is stopped and the error carries the end of its log.
 */
export async function spawnDaemon(options: DaemonOptions): Promise<Daemon> {
  const { name, dir, deadline = 30_000 } = options
  options.signal?.throwIfAborted()
  mkdirSync(dir, { recursive: true })
  const logFile = join(dir, `${name}.log`)
  const log = openSync(logFile, 'a')
  const child = spawn(need('setpriv'), tied('TERM', options.command, options.args), {
    cwd: options.cwd,
    env: cleanEnv(options.env),
    detached: true,
    stdio: ['ignore', log, log]
  })
  closeSync(log)
  const untrack = track(child.pid)
  let ended = false
  const exited = new Promise<number>((resolve) => {
    const end = (status: number): void => {
      ended = true
      untrack()
      resolve(status)
    }
    child.on('error', () => end(127))
    child.on('exit', (code) => end(code ?? 128))
  })
  const logTail = (lines = 30): string =>
    readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')

  async function stop(): Promise<void> {
    options.signal?.removeEventListener('abort', crash)
    if (ended) return
    killGroup(child.pid, 'SIGTERM')
    const patience = new AbortController()
    await Promise.race([exited, sleep(10_000, undefined, { signal: patience.signal }).catch(() => {})])
    patience.abort()
    killGroup(child.pid, 'SIGKILL')
    await exited
  }
  const crash = (): void => killGroup(child.pid, 'SIGKILL')
  options.signal?.addEventListener('abort', crash, { once: true })

  try {
    await waitFor(`${name} to be ready`, options.ready, {
      deadline,
      signal: options.signal,
      giveUp: () => (ended ? 'it ended' : undefined)
    })
  } catch (error) {
    await stop()
    throw new Error(`${(error as Error).message}; the end of ${logFile}:\n${logTail()}`, { cause: error })
  }
  const pid = child.pid
  if (pid === undefined) throw new Error(`${name} did not start`)
  return { pid, logFile, exited, logTail, kill: (signal) => killGroup(pid, signal), stop }
}

/** How {@link waitFor} waits. */
export interface WaitOptions {
  /** Milliseconds; 30 s unless told. */
  deadline?: number
  signal?: AbortSignal
  /** A reason to stop waiting early. */
  giveUp?: () => string | undefined
}

/** Asks `check` every 50 ms until it answers true; throws at the deadline, saying what `check` last threw. */
export async function waitFor(
  what: string,
  check: (signal: AbortSignal) => Promise<boolean>,
  options: WaitOptions = {}
): Promise<void> {
  const { deadline = 30_000 } = options
  const over = AbortSignal.timeout(deadline)
  const signal = options.signal ? AbortSignal.any([over, options.signal]) : over
  let last: unknown
  for (;;) {
    try {
      if (await check(signal)) return
      last = undefined
    } catch (error) {
      last = error
    }
    options.signal?.throwIfAborted()
    const reason = options.giveUp?.() ?? (over.aborted ? `not after ${deadline} ms` : undefined)
    if (reason !== undefined) {
      const detail = last instanceof Error ? `: ${last.message}` : ''
      throw new Error(`waited for ${what}: ${reason}${detail}`)
    }
    await sleep(50)
  }
}

/** A port of 127.0.0.1 that was free for TCP and for UDP a moment ago. */
export async function freePort(): Promise<number> {
  for (;;) {
    const tcp = createServer()
    const port = await new Promise<number>((resolve, reject) => {
      tcp.once('error', reject)
      tcp.listen(0, '127.0.0.1', () => resolve((tcp.address() as AddressInfo).port))
    })
    const udp = createSocket('udp4')
    const free = await new Promise<boolean>((resolve) => {
      udp.once('error', () => resolve(false))
      udp.bind(port, '127.0.0.1', () => resolve(true))
    })
    await new Promise<void>((resolve) => udp.close(() => resolve()))
    await new Promise<void>((resolve) => tcp.close(() => resolve()))
    if (free) return port
  }
}

/**
 * Ends every process whose command line names a path below `dir`, and unmounts what is mounted there:
 * what engines leave behind when they are killed. `dir` must be a test's own folder.
 */
export async function sweep(dir: string): Promise<void> {
  const below = `${dir}/`
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const args = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (args.split('\0').some((arg) => arg.includes(below))) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {}
    }
  }
  const mounts = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(below))
  for (const path of mounts.toReversed()) await run('umount', ['-l', path], { allowFailure: true })
}
