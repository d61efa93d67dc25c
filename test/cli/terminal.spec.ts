import assert from 'node:assert/strict'
import type { WriteStream } from 'node:tty'
import {
  createProgressLine,
  formatAge,
  formatBytes,
  formatSeconds,
  formatTable,
  progressText
} from '../../src/cli/terminal.ts'

describe('what people see', () => {
  it('has bytes in powers of 1000, with three digits at most', () => {
    const cases: Record<string, number> = {
      '0 B': 0,
      '999 B': 999,
      '1.0 kB': 1000,
      '1.5 MB': 1_500_000,
      '100 MB': 99_960_000,
      '1.0 GB': 999_999_999,
      '12.3 TB': 12.3e12
    }
    for (const [text, bytes] of Object.entries(cases)) assert.equal(formatBytes(bytes), text)
  })

  it('has time spans', () => {
    assert.deepEqual([0, 59, 60, 185, 7800].map(formatSeconds), ['0s', '59s', '1m00s', '3m05s', '2h10m'])
  })

  it('has tables whose numbers stand on the right', () => {
    assert.deepEqual(
      formatTable(
        ['NAME', 'SIZE'],
        [
          ['a', '1 B'],
          ['longer', '12 kB']
        ],
        [1]
      ),
      ['NAME     SIZE', 'a         1 B', 'longer  12 kB']
    )
  })

  it('has a bar, a rate and the time left where they can be told', () => {
    const report = { what: 'verify', done: 50_000_000, total: 100_000_000, unit: 'bytes' } as const
    assert.equal(
      progressText(report, 5),
      'verify  [============            ]  50.0 MB of 100 MB  10.0 MB/s  5s left'
    )
    assert.equal(progressText({ what: 'mark', done: 7, unit: 'items' }, 0), 'mark  7')
  })

  it('changes one line on a terminal, and writes nothing elsewhere', () => {
    for (const isTTY of [true, false]) {
      const written: string[] = []
      const line = createProgressLine({
        isTTY,
        columns: 20,
        write: (text: string) => written.push(text)
      } as unknown as WriteStream)
      line.show({ what: 'mark', done: 1, total: 2, unit: 'items' })
      line.clear()
      assert.deepEqual(written, isTTY ? ['\r\x1b[Kmark  [============', '\r\x1b[K'] : [])
    }
  })
})

describe('how long ago something was', () => {
  it('is not told where nobody knows: programs that keep no time write that of the year 1', () => {
    const now = Date.parse('2026-11-22T00:00:00Z')
    assert.equal(formatAge(Date.parse('0001-01-01T00:00:00Z'), now), '')
    assert.equal(formatAge(Number.NaN, now), '')
    assert.equal(formatAge(Date.parse('1970-01-01T00:00:00Z'), now), '56 years ago')
  })
})
