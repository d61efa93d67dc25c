import assert from 'node:assert/strict'
import { JSON_SHAPES } from '../../src/cli/json-fields.ts'

/** Fields that a command prints with `--json` and that are not documented, or the other way round. */
export function misfits(shape: string, printed: unknown): string[] {
  const { list, fields } = JSON_SHAPES[shape] ?? assert.fail(`${shape} is not documented`)
  assert.equal(Array.isArray(printed), list === true, shape)
  const all = (list === true ? printed : [printed]) as object[]
  const known = fields.map(([name]) => name.replace('?', ''))
  const needed = fields.flatMap(([name]) => (name.endsWith('?') ? [] : [name]))
  return all.flatMap((one) => [
    ...Object.keys(one).filter((name) => !known.includes(name)),
    ...needed.filter((name) => !Object.hasOwn(one, name)).map((name) => `no ${name}`)
  ])
}
