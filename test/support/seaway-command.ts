import { execFile } from 'node:child_process'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '../../src/main.ts')

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
  input = ''
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
