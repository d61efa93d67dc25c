/** Processes that `bench-transfer.ts` measures: those of `bench-transfer-peer.ts`, and what any of them uses. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A process in a role. */
export interface Role {
  readonly pid: number
  /** What it said when it listened. */
  readonly said: Record<string, unknown>
  /** Ends it, the first time. */
  stop(): Promise<void>
}

/** The line of JSON that a process says first, and the way to end it. */
export async function heard(child: ChildProcess, name: string): Promise<Role> {
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (data: Buffer) => resolve(data.toString()))
    void gone.then(() => reject(new Error(`${name} ended`)))
  })
  return {
    pid: child.pid as number,
    said: JSON.parse(line) as Record<string, unknown>,
    stop() {
      child.kill()
      return gone
    }
  }
}

/** Starts a role, with words in front of its command. */
export function startRole(args: readonly string[], prefix: readonly string[] = []): Promise<Role> {
  const script = join(import.meta.dirname, 'bench-transfer-peer.ts')
  const [command = '', ...rest] = [...prefix, process.execPath, script, ...args]
  return heard(spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] }), args[0] ?? '')
}

/** What two processes used: the most memory that was resident, in MB, and CPU, in seconds. */
export interface Used {
  here: number
  there: number
  cpuHere: number
  cpuThere: number
}

/** Takes the measures of two processes while `work` runs. */
export async function measured<T>(here: number, there: number, work: () => Promise<T>): Promise<T & Used> {
  for (const pid of [here, there]) writeFileSync(`/proc/${pid}/clear_refs`, '5')
  const before = [cpu(here), cpu(there)] as const
  const figures = await work()
  const [cpuHere, cpuThere] = [cpu(here) - before[0], cpu(there) - before[1]]
  return { ...figures, here: peak(here), there: peak(there), cpuHere, cpuThere }
}

function peak(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return (Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024) / 1e6
}

function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}
