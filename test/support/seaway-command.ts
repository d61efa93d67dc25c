import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { type CommandContext, runCommandLine } from '../../src/cli/index.ts'
import { readConfig } from '../../src/config.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')

/** How a command ended. */
export interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs `seaway` with these arguments and no settings but those given; `input` is what stdin brings. */
export function runCommand(
  args: readonly string[],
  settings: Readonly<Record<string, string>>,
  input: string | Uint8Array = ''
): Promise<Outcome> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SEAWAY_'))
  const env = { ...Object.fromEntries(inherited), ...settings }
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      { env, timeout: 50_000 },
      (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
      }
    )
    child.stdin?.end(input)
  })
}

/** The same without a process of its own, for what reads nothing from stdin and asks no gateway to do anything. */
export async function runCommandHere(
  args: readonly string[],
  settings: Readonly<Record<string, string>>
): Promise<Outcome> {
  const printed: string[] = []
  let stderr = ''
  const write = process.stderr.write.bind(process.stderr)
  process.stderr.write = (text: string | Uint8Array) => {
    stderr += String(text)
    return true
  }
  try {
    const status = await runCommandLine([...args], (flags, file) => {
      const config = readConfig({ flags, env: settings, ...(file !== undefined && { file }) })
      const print = (text: string) => void printed.push(`${text}\n`)
      const alone: CommandContext['alone'] = (work) =>
        work({ signal: AbortSignal.timeout(30_000), progress: () => undefined })
      return { config, print, alone } as unknown as CommandContext
    })
    return { status, stdout: printed.join(''), stderr }
  } finally {
    process.stderr.write = write
  }
}
