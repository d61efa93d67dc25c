import { spawn } from 'node:child_process'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Publisher, RecordChange } from './publish.ts'

// So much of what the program says is repeated in the message when it fails.
const MAX_OUTPUT = 2000
// A program that doesn't end when asked to is killed after so long (ms).
const GRACE_MS = 2000
// What a program said before its end is read within so long (ms); what it left running may hold the pipes for ever.
const OUTPUT_MS = 500

/** What a program gets in its environment, beside that of the gateway. */
export function environmentOf(
  changes: readonly RecordChange[],
  facts: { domain: string; root: string; previous: string | undefined }
): Record<string, string> {
  const values: Record<string, string> = {
    PUBLISH_DOMAIN: facts.domain,
    PUBLISH_ROOT: facts.root,
    PUBLISH_PREVIOUS_ROOT: facts.previous ?? '',
    PUBLISH_ZONE_LINES: changes
      .flatMap(({ record }) => (record === undefined ? [] : [record.zone]))
      .join('\n')
  }
  for (const { prefix, name, record } of changes) {
    const key = `PUBLISH_${prefix.replace('=', '').toUpperCase()}`
    values[`${key}_NAME`] = name
    values[`${key}_VALUE`] = record?.value ?? ''
    values[`${key}_TTL`] = String(record?.ttl ?? '')
  }
  return values
}

/**
 * Publishes by a program of the operator's: `command` is run by the shell, with the values as `PUBLISH_…` in
 * its environment. Its own end decides, not that of what it leaves running: what is in its process group is
 * killed then, and at the deadline; what has left the group is not waited for.
 *
 * @param options.folder where it runs
 * @param options.timeoutMs how long it may take
 */
export function createExecPublisher(
  command: string,
  options: { folder: string | undefined; timeoutMs: number }
): Publisher {
  return {
    what: `the command ${JSON.stringify(command)}`,
    async write(changes, { facts, signal }) {
      const values = Object.entries(environmentOf(changes, facts)).map(([key, value]) => `${key}=${value}`)
      const { status, output, late } = await run(command, values, { ...options, signal })
      if (status === 'status 0' && !late) return
      const said = output === '' ? 'it said nothing' : `it said: ${output}`
      throw new RegistryError(
        late ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED',
        `the command ${JSON.stringify(command)} ${late ? `did not end within ${options.timeoutMs} ms` : `ended with ${status}`}; ${said}`
      )
    }
  }
}

function run(
  command: string,
  values: readonly string[],
  options: { folder: string | undefined; timeoutMs: number; signal: AbortSignal }
): Promise<{ status: string; output: string; late: boolean }> {
  const { signal } = options
  signal.throwIfAborted()
  return new Promise((resolve, reject) => {
    // `env` adds to the environment, which is only read in config.ts; a group of its own ends as one
    const child = spawn('env', [...values, 'sh', '-c', command], {
      cwd: options.folder,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let output = ''
    let late = false
    let timer: NodeJS.Timeout | undefined
    const kill = (name: NodeJS.Signals): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, name)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
    const after = (ms: number, next: () => void): void => {
      clearTimeout(timer)
      timer = setTimeout(next, ms)
    }
    const settle = (how: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      child.removeAllListeners('close')
      // what left the group may hold the other ends: they keep neither the answer nor the process waiting
      child.stdout.destroy()
      child.stderr.destroy()
      child.unref()
      how()
    }
    const finish = (status: string): void => {
      // what it left running in its group ends with it
      kill('SIGKILL')
      settle(() =>
        signal.aborted ? reject(signal.reason as Error) : resolve({ status, output: output.trim(), late })
      )
    }
    const end = (): void => {
      kill('SIGTERM')
      after(GRACE_MS, () => finish('signal SIGKILL'))
    }
    after(options.timeoutMs, () => {
      late = true
      end()
    })
    signal.addEventListener('abort', end, { once: true })
    const collect = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-MAX_OUTPUT)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', (cause) =>
      settle(() =>
        reject(
          new RegistryError('SOURCE_FAILED', `the command could not be started: ${reason(cause)}`, { cause })
        )
      )
    )
    child.on('exit', (code, name) => {
      signal.removeEventListener('abort', end)
      const status = code === null ? `signal ${name}` : `status ${code}`
      after(OUTPUT_MS, () => finish(status))
      child.on('close', () => finish(status))
    })
  })
}
