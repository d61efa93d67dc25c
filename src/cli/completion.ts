import { type Config, ConfigError } from '../config.ts'
import type { Call, Command } from './command.ts'
import { bashScript, fishScript, zshScript } from './completion-scripts.ts'
import { SHELLS, shellCommands, shellSettings } from './completion-table.ts'
import { connectControl, controlPath } from './control.ts'
import { openEngine } from './stores.ts'

/** How long a shell waits for names, in milliseconds: somebody has pressed a key. */
const PATIENCE_MS = 5000

const KINDS = ['domain', 'repository', 'image', 'engine'] as const

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript }

/** `seaway completion SHELL`, over the table that it is in itself. */
export function completionOf(commands: () => Promise<readonly Command[]>): Command {
  return {
    name: 'completion',
    arguments: '[shell]',
    summary: 'prints what bash, zsh or fish needs to complete commands, options and names of images',
    examples: [
      ['source <(seaway completion bash)', 'in ~/.bashrc; for zsh alike, in ~/.zshrc'],
      ['seaway completion fish | source', 'in ~/.config/fish/config.fish'],
      ['seaway completion zsh > ~/.zfunc/_seaway', 'where that folder is on the fpath']
    ],
    json: false,
    options: [
      {
        flags: '--names <kind>',
        about:
          'instead: names of the running gateway, or the Docker engine, that begin with the argument; scripts ask for them',
        choices: KINDS
      }
    ],
    async run({ config, print }, [word = ''], { names }) {
      if (names !== undefined) {
        const kind = KINDS.find((one) => one === names)
        if (kind === undefined) throw new ConfigError(`--names is one of ${KINDS.join(', ')}`)
        for (const name of await namesAt(config, word, kind)) print(name)
        return
      }
      const shell = SHELLS.find((one) => one === word)
      if (shell === undefined)
        throw new ConfigError(
          `${word === '' ? 'a shell is needed' : `'${word}' is no shell that is known`}: ${SHELLS.join(', ')}`
        )
      const table = shellCommands(await commands())
      print(SCRIPTS[shell]({ commands: table, settings: shellSettings() }).trimEnd())
    }
  }
}

/** Names out of the gateway that runs, or the engine; nothing where none does, or it takes too long. */
async function namesAt(
  config: Config,
  prefix: string,
  kind: (typeof KINDS)[number]
): Promise<readonly string[]> {
  const call: Call = { signal: AbortSignal.timeout(PATIENCE_MS), progress: () => undefined }
  try {
    if (kind === 'engine') {
      const engine = await openEngine(config, 'docker')
      const names = await engine.names(call.signal).finally(() => engine.close())
      return names.filter((name) => name.startsWith(prefix)).sort()
    }
    const running = await connectControl(controlPath(config.data))
    return (await running?.complete({ prefix, kind }, call)) ?? []
  } catch {
    return [] // a shell has nowhere to show why
  }
}
