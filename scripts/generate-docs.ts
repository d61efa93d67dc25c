/**
 * `node scripts/generate-docs.ts`: writes the tables of README.md that follow from the code (endpoints,
 * settings, error codes, what `--json` prints) between their markers, `<!-- endpoints:begin -->` and `<!-- endpoints:end -->`
 * for one. With `--check` it writes nothing and fails when one is out of date; with `--print` it prints
 * the tables.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { JSON_SHAPES } from '../src/cli/json-fields.ts'
import { flagOf, SETTINGS, variableOf } from '../src/config.ts'
import { registryRoutes } from '../src/http/app.ts'
import { ERRORS } from '../src/oci/errors.ts'

const README = fileURLToPath(new URL('../README.md', import.meta.url))

/** A Markdown table; bars inside of cells are escaped. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** The route table. Handlers are made over nothing, for they are not called. */
function endpoints(): string {
  const routes = registryRoutes({ registry: { ipns: {} } as never, hosts: [], auth: { access: {} } as never })
  return table(
    ['method', 'path', 'what it does'],
    routes.map(({ method, path, about }) => [
      method === 'GET' ? '`GET`, `HEAD`' : `\`${method}\``,
      `\`${path.replace(/[*:](\w+)/g, '<$1>')}\``,
      about
    ])
  )
}

function settings(): string {
  return table(
    ['flag', 'variable', 'value', 'default', 'what it sets'],
    SETTINGS.map((setting) => [
      `\`${flagOf(setting)}\``,
      `\`${variableOf(setting)}\``,
      `\`${setting.form}\``,
      setting.standard === '' ? '' : `\`${setting.standard}\``,
      setting.about
    ])
  )
}

function errors(): string {
  return table(
    ['code', 'status', 'meaning'],
    Object.entries(ERRORS).map(([code, { status, meaning }]) => [`\`${code}\``, String(status), meaning])
  )
}

/** Commands in code, what stands in brackets behind one beside it. */
function names(commands: string): string {
  return commands
    .split(', ')
    .map((one) => one.replace(/^([^(]*[^( ])/, '`$1`'))
    .join(', ')
}

/** What `--json` prints. */
function json(): string {
  return table(
    ['command', 'field', 'is', 'means'],
    Object.entries(JSON_SHAPES).flatMap(([command, { list, fields }]) =>
      fields.map(([name, type, meaning], i) => [
        i > 0 ? '' : `${names(command)}${list ? ': a list of' : ''}`,
        `\`${name}\``,
        type,
        meaning
      ])
    )
  )
}

const TABLES: Readonly<Record<string, () => string>> = { endpoints, settings, errors, json }

/** The text with its tables as they are now. @throws Error when a marker is missing */
function generated(text: string): string {
  let result = text
  for (const [name, make] of Object.entries(TABLES)) {
    const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`]
    const from = result.indexOf(begin)
    const to = result.indexOf(end)
    if (from < 0 || to < from) throw new Error(`README.md has no ${begin} … ${end}`)
    result = `${result.slice(0, from + begin.length)}\n${make()}\n${result.slice(to)}`
  }
  return result
}

const { values } = parseArgs({ options: { check: { type: 'boolean' }, print: { type: 'boolean' } } })
if (values.print) {
  for (const [name, make] of Object.entries(TABLES)) console.log(`<!-- ${name} -->\n${make()}\n`)
} else {
  try {
    const text = await readFile(README, 'utf8')
    const wanted = generated(text)
    if (wanted === text) console.log('README.md is up to date')
    else if (values.check) {
      console.error('README.md: a table is out of date; run node scripts/generate-docs.ts')
      process.exitCode = 1
    } else {
      await writeFile(README, wanted)
      console.log('README.md: tables written')
    }
  } catch (error) {
    console.error(`generate-docs: ${(error as Error).message}`)
    process.exitCode = 1
  }
}
