import type { ShellCommand, ShellOption } from './completion-table.ts'

/** What the scripts are made from. */
export interface ShellTable {
  readonly commands: readonly ShellCommand[]
  /** Options that every command has. */
  readonly settings: readonly ShellOption[]
}

const quoted = (text: string): string => `'${text}'`
const flagsOf = (options: readonly ShellOption[]): string => options.flatMap(({ flags }) => flags).join(' ')
const namesFor = ({ argument }: ShellCommand): string =>
  ['domain', 'repository', 'image', 'engine'].includes(argument) ? argument : ''

/**
 * For bash, without the bash-completion package. It splits words at colons, which names of images have: so the word is
 * taken from the line itself, and what stands before its last colon is taken off the answers.
 */
export function bashScript({ commands, settings }: ShellTable): string {
  const choices = [...settings, ...commands.flatMap(({ options }) => options)].filter(
    (one) => one.choices.length > 0
  )
  const byFlag = new Map(choices.map((one) => [one.flags.at(-1) ?? '', one.choices.join(' ')]))
  const values = new Set(
    [...settings, ...commands.flatMap(({ options }) => options)]
      .filter((one) => one.value)
      .flatMap(({ flags }) => flags)
  )
  return `# bash completion for seaway; load it with: source <(seaway completion bash)
_seaway() {
  local line=\${COMP_LINE:0:COMP_POINT}
  local word=\${line##*[[:space:]]} rest=\${line%"\${line##*[[:space:]]}"}
  local -a before=($rest)
  local previous=\${before[-1]} command=\${before[1]} names='' options='' words=''
  case $command in
${commands
  .map(
    (one) =>
      `    ${one.name}) options='${flagsOf(one.options)}' names='${namesFor(one)}' words='${one.choices.join(' ')}' ;;`
  )
  .join('\n')}
  esac
  if [[ \${#before[@]} -lt 2 ]]; then
    COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')} --help' -- "$word"))
    return
  fi
  case $previous in
${[...byFlag].map(([flag, words]) => `    ${flag}) COMPREPLY=($(compgen -W '${words}' -- "$word")); return ;;`).join('\n')}
    ${[...values].join('|')}) compopt -o default; COMPREPLY=(); return ;;
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options ${flagsOf(settings)}" -- "$word"))
    return
  fi
  if [[ -n $words && \${#before[@]} -eq 2 ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  elif [[ -n $names ]]; then
    COMPREPLY=($("\${before[0]}" completion --names "$names" -- "$word" 2>/dev/null))
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
      local cut=\${word%"\${word##*:}"}
      COMPREPLY=("\${COMPREPLY[@]#"$cut"}")
    fi
  else
    compopt -o default
    COMPREPLY=()
  fi
}
complete -F _seaway seaway
`
}

/** For zsh: sourced, or as a file _seaway on the fpath. */
export function zshScript({ commands, settings }: ShellTable): string {
  const spec = ({ flags, about, value, choices }: ShellOption): string[] =>
    flags.map((flag) => {
      const action = choices.length > 0 ? `(${choices.join(' ')})` : '_files'
      return quoted(`${flag}[${about}]${value ? `:${flag.replace(/^-+/, '')}:${action}` : ''}`)
    })
  const argumentOf = (one: ShellCommand): string[] => {
    const names = namesFor(one)
    if (one.choices.length > 0)
      return [quoted(`1:${one.argument}:(${one.choices.join(' ')})`), quoted(`*:argument:_files`)]
    return [quoted(names === '' ? '*:file:_files' : `*:${names}: _seaway_names ${names}`)]
  }
  return `#compdef seaway
# zsh completion for seaway; load it with: source <(seaway completion zsh)
_seaway_names() {
  local -a found
  found=(\${(f)"$($_seaway_program completion --names "$1" -- "$PREFIX" 2>/dev/null)"})
  compadd -Q -- $found
}
_seaway() {
  local _seaway_program=$words[1]
  if (( CURRENT == 2 )); then
    local -a commands=(
${commands.map(({ name, about }) => `      ${quoted(`${name}:${about}`)}`).join('\n')}
    )
    _describe -t commands 'seaway command' commands
    return
  fi
  local command=$words[2]
  local -a settings=(
${settings
  .flatMap(spec)
  .map((one) => `    ${one}`)
  .join('\n')}
  )
  shift words
  (( CURRENT-- ))
  case $command in
${commands
  .map(
    (one) => `    ${one.name})
      _arguments -s ${[...one.options.flatMap(spec), '$settings', ...argumentOf(one)].join(' \\\n        ')} ;;`
  )
  .join('\n')}
  esac
}
if [ "\${funcstack[1]}" = _seaway ]; then
  _seaway "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
  compdef _seaway seaway
fi
`
}

/** For fish. */
export function fishScript({ commands, settings }: ShellTable): string {
  const option = (condition: string, { flags, about, value, choices }: ShellOption): string => {
    const short = flags.find((flag) => /^-[a-z]$/.test(flag))
    const long = flags.find((flag) => flag.startsWith('--')) ?? ''
    return [
      'complete -c seaway',
      condition,
      short === undefined ? '' : `-s ${short.slice(1)}`,
      `-l ${long.slice(2)}`,
      value ? (choices.length > 0 ? `-x -a ${quoted(choices.join(' '))}` : '-r') : '',
      `-d ${quoted(about)}`
    ]
      .filter((part) => part !== '')
      .join(' ')
  }
  const lines = commands.flatMap((one) => {
    const condition = `-n '__seaway_command ${one.name}'`
    const names = namesFor(one)
    const words =
      one.choices.length > 0
        ? [`complete -c seaway ${condition} -f -a ${quoted(one.choices.join(' '))}`]
        : names === ''
          ? []
          : [`complete -c seaway ${condition} -f -a '(__seaway_names ${names})'`]
    return [
      `complete -c seaway -n __fish_use_subcommand -f -a ${one.name} -d ${quoted(one.about)}`,
      ...words,
      ...one.options.map((each) => option(condition, each))
    ]
  })
  return `# fish completion for seaway; load it with: seaway completion fish | source
function __seaway_command
  set -l words (commandline -opc)
  test (count $words) -gt 1; and test $words[2] = $argv[1]
end
function __seaway_names
  set -l words (commandline -opc)
  $words[1] completion --names $argv[1] -- (commandline -ct) 2>/dev/null
end
${lines.join('\n')}
${settings.map((one) => option("-n 'not __fish_use_subcommand'", one)).join('\n')}
`
}
