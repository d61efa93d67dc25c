import { readFileSync } from 'node:fs'
import { Command as Commander, CommanderError, Option } from 'commander'
import { ConfigError, FILE_VARIABLE, flagOf, SETTINGS, variableOf } from '../config.ts'
import { reason } from '../oci/errors.ts'
import type { CommandContext, CommandOption } from './command.ts'
import { allCommands, commandNamed } from './table.ts'

export type {
  Call,
  Command,
  CommandContext,
  CommandOption,
  Door,
  Operations,
  Progress,
  ProvideStatus
} from './command.ts'

/** The command line was wrong: exit status 2. */
const USAGE = 2

/**
 * Runs one command line and returns its exit status: 0, 1 (failed) or 2 (bad usage). Errors are one line
 * on stderr, with a stack only at log level debug.
 *
 * @param prepare makes the context from the settings given as flags and the name of the settings file
 */
export async function runCommandLine(
  argv: readonly string[],
  prepare: (flags: Partial<Record<string, string>>, file: string | undefined) => CommandContext
): Promise<number> {
  let debug = false
  const program = new Commander('seaway')
    .description('A decentralised container registry: docker push into IPFS, docker pull by domain.')
    .version(versionOf(), '-V, --version', 'prints the version')
    .exitOverride()
    .showHelpAfterError('(see seaway --help)')
    .configureOutput({ writeErr: (text) => process.stderr.write(text) })
  const [name = ''] = argv
  const called = await commandNamed(name)
  for (const command of called === undefined ? await allCommands() : [called]) {
    const sub = program
      .command(`${command.name} ${command.arguments}`.trim())
      .summary(command.summary)
      .description(command.summary)
      .exitOverride()
    // all options of all commands take long
    if (command !== called && name !== 'help') continue
    sub.option('--config <file>', `settings file, YAML or JSON (${FILE_VARIABLE})`)
    const own = (command.options ?? []).map(optionOf)
    // a command may use a setting's flag for what it does itself; the variable still sets it then
    const taken = new Set(own.map(({ long }) => long))
    for (const setting of SETTINGS) {
      if (taken.has(flagOf(setting))) continue
      const standard = setting.standard === '' ? '' : `; default ${setting.standard}`
      sub.option(
        `${flagOf(setting)} <${setting.form}>`,
        `${setting.about} (${variableOf(setting)}${standard})`
      )
    }
    if (command.json) sub.option('--json', 'prints JSON')
    for (const option of own) sub.addOption(option)
    const examples = command.examples.map(([line, does]) => `  ${line.padEnd(52)} ${does}`)
    sub.addHelpText('after', `\nExamples:\n${examples.join('\n')}`)
    sub.action(async () => {
      const { json, config, ...given } = sub.opts<Record<string, string> & { json?: boolean }>()
      const names = new Set(own.map((option) => option.attributeName()))
      const pick = (mine: boolean) =>
        Object.fromEntries(Object.entries(given).filter(([name]) => names.has(name) === mine))
      const context = prepare(pick(false), config)
      debug = context.config.logLevel === 'debug' || context.config.logLevel === 'trace'
      await command.run(context, sub.args, { ...pick(true), ...(json === undefined ? {} : { json }) })
    })
  }
  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE
    process.stderr.write(`seaway: ${debug && error instanceof Error ? error.stack : reason(error)}\n`)
    return error instanceof ConfigError ? USAGE : 1
  }
}

/** The version of the package. */
function versionOf(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

function optionOf({ flags, about, repeated }: CommandOption): Option {
  const option = new Option(flags, about)
  return repeated === true
    ? option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value])
    : option
}
