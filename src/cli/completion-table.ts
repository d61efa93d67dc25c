import { flagOf, SETTINGS, type Setting } from '../config.ts'
import type { Command } from './command.ts'

/** An option as shells are told of it. */
export interface ShellOption {
  /** `--sort`, and `-q` where there is one. */
  readonly flags: readonly string[]
  readonly about: string
  readonly value: boolean
  readonly choices: readonly string[]
}

/** What an argument is the name of. */
export type ArgumentKind = 'domain' | 'repository' | 'image' | 'engine' | 'shell' | 'file'

/** A command as shells are told of it. */
export interface ShellCommand {
  readonly name: string
  readonly about: string
  readonly options: readonly ShellOption[]
  readonly argument: ArgumentKind
  /** Words that its argument can be. */
  readonly choices: readonly string[]
}

/** Shells that are known. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const

/** What shells are told of the command table. */
export function shellCommands(commands: readonly Command[]): readonly ShellCommand[] {
  return commands.map((command) => ({
    name: command.name,
    about: firstLine(command.summary),
    options: [
      ...(command.options ?? []).map(({ flags, about, choices = [] }) => ({
        flags: flags.split(/,? +/).filter((part) => part.startsWith('-')),
        about: firstLine(about),
        value: /[<[]/.test(flags),
        choices
      })),
      ...(command.json ? [flag('--json', 'prints JSON')] : []),
      flag('--help', 'display help for command')
    ],
    argument: kindOf(command),
    choices: command.words ?? (command.name === 'completion' ? SHELLS : [])
  }))
}

/** Settings as options: every command has them. */
export function shellSettings(): readonly ShellOption[] {
  const config = { flags: ['--config'], about: 'settings file, YAML or JSON', value: true, choices: [] }
  return [
    config,
    ...SETTINGS.map((setting) => ({
      flags: [flagOf(setting)],
      about: firstLine(setting.about),
      value: true,
      choices: choicesOf(setting)
    }))
  ]
}

/** The first part of a text, in characters that every shell takes in quotes. */
function firstLine(text: string): string {
  return (text.split(/[;:(]/)[0] ?? '').replace(/[^ -~]|['"\\`$[\]]/g, '').trim()
}

const flag = (name: string, about: string): ShellOption => ({
  flags: [name],
  about,
  value: false,
  choices: []
})

function choicesOf({ form }: Setting): string[] {
  return /^[a-z]+(?:\|[a-z]+)+$/.test(form) ? form.split('|') : []
}

/** Commands whose arguments don't say what they are. */
const KINDS: Readonly<Record<string, ArgumentKind>> = { push: 'engine', copy: 'image', import: 'file' }

function kindOf({ name, arguments: text }: Command): ArgumentKind {
  const kind = KINDS[name]
  if (kind !== undefined) return kind
  if (text.includes('shell')) return 'shell'
  if (/image/.test(text)) return 'image'
  if (/glob|repository|name|before/.test(text)) return 'repository'
  return /domain/.test(text) ? 'domain' : 'file'
}
