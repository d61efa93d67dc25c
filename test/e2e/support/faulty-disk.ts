/** A disk that fails when a test says so: a library between the gateway and libc (faulty-disk.c), built by gcc. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './process.ts'

const SOURCE = fileURLToPath(new URL('faulty-disk.c', import.meta.url))

/** One kind of failure: what call fails how, on paths that hold `path`, from `from` bytes on. */
export interface Fault {
  readonly call: 'read' | 'write' | 'sync' | 'rename'
  /** A short read gives half of what was asked for. */
  readonly as: 'EIO' | 'short'
  readonly path: string
  readonly from?: number
}

/** See the head of the file. */
export interface FaultyDisk {
  /** What a process's environment needs for it. */
  readonly env: Record<string, string>
  /** From now on these fail, and nothing else. */
  fail(...faults: readonly Fault[]): Promise<void>
  /** Sets the clock of the process off by so many seconds. */
  clock(seconds: number): Promise<void>
  /** Nothing fails any more. */
  mend(): Promise<void>
}

/** Builds the library in `dir`. */
export async function faultyDisk(dir: string): Promise<FaultyDisk> {
  await mkdir(dir, { recursive: true })
  const library = join(dir, 'faulty-disk.so')
  const rules = join(dir, 'faults')
  await run('gcc', ['-shared', '-fPIC', '-O1', '-o', library, SOURCE, '-ldl'])
  await writeFile(rules, '')
  return {
    env: { LD_PRELOAD: library, FAULTS: rules },
    fail: (...faults) =>
      writeFile(
        rules,
        faults.map(({ call, as, path, from = 0 }) => `${call} ${as} ${path} ${from}\n`).join('')
      ),
    clock: (seconds) => writeFile(rules, `clock ${seconds}\n`),
    mend: () => writeFile(rules, '')
  }
}
