import assert from 'node:assert/strict'
import { bashScript, fishScript, zshScript } from '../../src/cli/completion-scripts.ts'
import { shellCommands, shellSettings } from '../../src/cli/completion-table.ts'
import { JSON_SHAPES } from '../../src/cli/json-fields.ts'
import { allCommands, commandNamed } from '../../src/cli/table.ts'

const COMMANDS = await allCommands()

describe('completion', () => {
  const commands = shellCommands(COMMANDS)
  const settings = shellSettings()

  it('knows every command and each of its options', () => {
    assert.deepEqual(
      commands.map(({ name }) => name),
      COMMANDS.map(({ name }) => name)
    )
    const images = commands.find(({ name }) => name === 'images') ?? assert.fail()
    assert.equal(images.argument, 'repository')
    assert.deepEqual(images.options.find(({ flags }) => flags.includes('-q'))?.flags, ['-q', '--quiet'])
    assert.deepEqual(images.options.find(({ flags }) => flags.includes('--sort'))?.choices.slice(0, 2), [
      'name',
      'version'
    ])
    for (const script of [bashScript, zshScript, fishScript]) {
      const text = script({ commands, settings })
      for (const { name } of COMMANDS) assert.ok(text.includes(name), name)
      for (const flag of ['dns-servers', 'sort', 'json']) assert.ok(text.includes(flag), flag)
    }
  })

  it('is of commands that are found by the names that they have', async () => {
    for (const command of COMMANDS) assert.equal((await commandNamed(command.name))?.name, command.name)
    assert.equal(await commandNamed('toString'), undefined)
    assert.equal(await commandNamed(''), undefined)
  })

  it('knows the words of every command that has some', () => {
    const words = Object.fromEntries(commands.map(({ name, choices }) => [name, choices]))
    assert.deepEqual(words['token'], ['create', 'list', 'revoke'])
    assert.deepEqual(words['access'], ['check'])
    assert.deepEqual(words['key'], ['list', 'create', 'export', 'import', 'rotate'])
    assert.deepEqual(words['pin'], ['add', 'ls', 'rm'])
    assert.ok(words['setup']?.includes('docker'))
    for (const command of COMMANDS) {
      assert.ok(command.examples.length > 0, `${command.name} has no example`)
      for (const word of command.words ?? [])
        for (const script of [bashScript, zshScript, fishScript])
          assert.ok(script({ commands, settings }).includes(word), `${command.name} ${word}`)
    }
  })

  it('what every command prints with --json is documented', () => {
    const documented = Object.keys(JSON_SHAPES).flatMap((shape) =>
      shape.split(', ').map((each) => each.split(' ')[0])
    )
    for (const { name, json } of COMMANDS)
      if (json) assert.ok(documented.includes(name), `${name} is not in json-fields.ts`)
  })

  it('completes what the arguments name', () => {
    const kinds = Object.fromEntries(commands.map(({ name, argument }) => [name, argument]))
    assert.equal(kinds['push'], 'engine')
    assert.equal(kinds['import'], 'file')
    for (const name of ['rm', 'inspect', 'pull', 'copy']) assert.equal(kinds[name], 'image', name)
    for (const name of ['tags', 'usage', 'export']) assert.equal(kinds[name], 'repository', name)
    for (const name of ['publish', 'history', 'sync', 'root']) assert.equal(kinds[name], 'domain', name)
  })

  it('puts nothing into scripts that a shell would run', () => {
    const [command] = shellCommands([
      {
        name: 'evil',
        arguments: '',
        summary: 'it\'s $(touch /tmp/x) `id` \\ ["x"]',
        examples: [],
        json: false,
        run: async () => undefined
      }
    ])
    assert.doesNotMatch(command?.about ?? '', /['"`$\\[\]]/)
  })
})
