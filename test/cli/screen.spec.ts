import assert from 'node:assert/strict'
import { createColumns } from '../../src/cli/columns.ts'
import { cut, printable, type Screen } from '../../src/cli/screen.ts'
import { formatAge, formatTable, shortDigest } from '../../src/cli/terminal.ts'

const PIPE: Screen = { columns: undefined, paint: (text) => text }
const marked = (columns: number): Screen => ({ columns, paint: (text, as) => `<${as}>${text}</>` })

describe('a screen', () => {
  it('shows text of others with what steers terminals written out', () => {
    assert.equal(printable('plain – ünïcode 日本'), 'plain – ünïcode 日本')
    assert.equal(printable('a\u001b[31mb\r\n\u0007c\u009b'), 'a\\u001b[31mb\\u000d\\u000a\\u0007c\\u009b')
    assert.equal(printable('exe.\u202egpj'), 'exe.\\u202egpj')
  })

  it('has tables that come bit by bit: columns get wider, never narrower', () => {
    const lines: string[] = []
    const table = createColumns([{ head: 'NAME' }, { head: 'SIZE', right: true }, { head: 'REST' }], {
      screen: PIPE,
      print: (line) => void lines.push(line)
    })
    table.rows([['a', '1 B', 'one']])
    table.rows([
      ['longer', '12 kB', ''],
      ['b', '2 B', 'three']
    ])
    table.end()
    assert.deepEqual(lines, ['NAME  SIZE  REST', 'a      1 B  one', 'longer  12 kB', 'b         2 B  three'])
  })

  it('cuts the last column at the edge of a terminal, and nothing in a pipe', () => {
    const printed = (screen: Screen) => {
      const lines: string[] = []
      const table = createColumns([{ head: 'A' }, { head: 'LAST' }], {
        screen,
        print: (line) => void lines.push(line)
      })
      table.rows([['abc', 'x'.repeat(40)]])
      return lines[1] ?? ''
    }
    assert.equal(printed(PIPE), `abc  ${'x'.repeat(40)}`)
    assert.equal(printed({ ...PIPE, columns: 20 }), `abc  ${'x'.repeat(13)}…`)
    assert.equal(printed({ ...PIPE, columns: 4 }), `abc  ${'x'.repeat(7)}…`)
    assert.equal(cut('abc', 3), 'abc')
  })

  it('prints the head of a table without rows', () => {
    const lines: string[] = []
    createColumns([{ head: 'A' }, { head: 'B' }], {
      screen: PIPE,
      print: (line) => void lines.push(line)
    }).end()
    assert.deepEqual(lines, ['A  B'])
  })

  it('lets heads and states stand out, in as much room as without', () => {
    assert.deepEqual(
      formatTable(
        ['STATE', 'OF'],
        [
          ['ok', 'a'],
          ['failed', 'ok b']
        ],
        [],
        marked(80)
      ),
      ['<bold>STATE</>   <bold>OF</>', '<green>ok</>      a', '<red>failed</>  ok b']
    )
  })

  it('tells ages as docker does', () => {
    const ages: Record<string, number> = {
      '0 seconds ago': 0,
      '59 seconds ago': 59,
      '1 minute ago': 60,
      '47 hours ago': 47 * 3600,
      '2 days ago': 48 * 3600,
      '13 days ago': 13.5 * 86_400,
      '2 weeks ago': 14 * 86_400,
      '2 months ago': 61 * 86_400,
      '2 years ago': 800 * 86_400
    }
    const now = Date.parse('2026-06-10T00:00:00Z')
    for (const [text, seconds] of Object.entries(ages))
      assert.equal(formatAge(now - seconds * 1000, now), text)
    assert.equal(formatAge(Number.NaN, now), '')
    assert.equal(formatAge(now + 5000, now), '0 seconds ago')
  })

  it('shortens digests', () => {
    assert.equal(shortDigest(`sha256:${'a'.repeat(64)}`), `sha256:${'a'.repeat(12)}`)
    assert.equal(shortDigest(`sha512:${'b'.repeat(128)}`), `sha512:${'b'.repeat(12)}`)
  })
})
