/** A terminal as people sit at: tmux runs a program on one, types into it and tells what stands on its screen. */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { waitFor } from './daemon.ts'
import { run } from './process.ts'

/** What {@link openTerminal} opens. */
export interface TerminalOptions {
  /** A folder of its own. */
  dir: string
  /** What runs on it, with its arguments. */
  command: readonly string[]
  env?: Record<string, string | undefined>
  columns?: number
}

/** A terminal on which a program runs. */
export interface Terminal {
  /** Types text as it is. */
  type(text: string): Promise<void>
  /** Presses keys by tmux's names: `Tab`, `Enter`, `C-c`. */
  press(...keys: string[]): Promise<void>
  /** All that was shown, lines that were too long as one; with `colours`, how it stands out too. */
  screen(options?: { colours?: boolean }): Promise<string>
  /** Waits for this to be shown. */
  until(pattern: RegExp): Promise<string>
  /** Waits for the program to end, and gives its exit status. */
  ended(): Promise<number>
  stop(): Promise<void>
}

/** Starts a program on a terminal of its own. */
export async function openTerminal(options: TerminalOptions): Promise<Terminal> {
  const { dir, command, columns = 120 } = options
  mkdirSync(dir, { recursive: true })
  // the screen stays when the program has ended
  const config = join(dir, 'tmux.conf')
  writeFileSync(config, 'set -g remain-on-exit on\n')
  const env = {
    NO_COLOR: undefined,
    TERM: 'xterm-256color',
    TMUX: undefined,
    FORCE_COLOR: undefined,
    ...options.env
  }
  const tmux = async (...args: string[]): Promise<string> =>
    (await run('tmux', ['-S', join(dir, 'tmux'), '-f', config, ...args], { env, timeout: 20_000 })).stdout
  const size = ['-x', String(columns), '-y', '50']
  // tmux sometimes loses the status of what ends soon; the shell in between leaves Ctrl-C to the program
  const status = join(dir, 'status')
  await tmux('new-session', '-d', ...size, 'sh', '-c', 'trap : INT; "$@"; echo $? >"$0"', status, ...command)

  const screen: Terminal['screen'] = async ({ colours = false } = {}) =>
    (await tmux('capture-pane', '-p', '-J', '-S', '-', ...(colours ? ['-e'] : []))).trimEnd()
  return {
    screen,
    type: async (text) => void (await tmux('send-keys', '-l', '--', text)),
    press: async (...keys) => void (await tmux('send-keys', ...keys)),
    async until(pattern) {
      let shown = ''
      const look = async () => {
        shown = await screen()
        return pattern.test(shown)
      }
      await waitFor(`${pattern} on the terminal`, look).catch((error: Error) => {
        throw new Error(`${error.message}; it shows:\n${shown}`)
      })
      return shown
    },
    async ended() {
      let said = ''
      const look = async () => {
        said = (await readFile(status, 'utf8')).trim()
        return said !== ''
      }
      await waitFor('the program to end', look).catch(async (error: Error) => {
        throw new Error(`${error.message}; it shows:\n${await screen()}`)
      })
      return Number(said)
    },
    stop: async () => void (await tmux('kill-server').catch(() => '')) // gone already
  }
}

/** What a program shows on a terminal until it ends, which must be well; lines that were too long as one. */
export async function shownBy(options: TerminalOptions, look?: { colours?: boolean }): Promise<string> {
  const terminal = await openTerminal(options)
  try {
    assert.equal(await terminal.ended(), 0, await terminal.screen())
    return await terminal.screen(look)
  } finally {
    await terminal.stop()
  }
}
