import type { Progress } from './command.ts'
import { paintOf, printable, type Screen } from './screen.ts'

/** How often the line on a terminal changes, in milliseconds. */
const REFRESH = 100

/** How wide the bar is, in characters. */
const BAR = 24

/** A number of bytes as people read it: `1.5 MB`. Powers of 1000, as Docker has them. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** A time span as people read it: `45s`, `3m05s`, `2h10m`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds))
  const pad = (value: number) => String(value).padStart(2, '0')
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m${pad(whole % 60)}s`
  return `${Math.floor(whole / 3600)}h${pad(Math.floor((whole % 3600) / 60))}m`
}

/** As much of a digest as people read: its algorithm and twelve digits. */
export function shortDigest(digest: string): string {
  return digest.slice(0, digest.indexOf(':') + 13)
}

/** Data as programs read it, and people who look what programs get. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2)
}

/** What programs write that keep no time (Go's zero time), in ms since 1970. */
const NO_TIME = Date.parse('0001-01-01T00:00:00Z')

/** How long ago something was, as docker says it: `3 days ago`; nothing where that isn't known. */
export function formatAge(at: number, now: number): string {
  if (Number.isNaN(at) || at === NO_TIME) return ''
  const seconds = Math.max(0, Math.floor((now - at) / 1000))
  const units: [name: string, seconds: number, from: number][] = [
    ['year', 365 * 86_400, 730 * 86_400],
    ['month', 30 * 86_400, 60 * 86_400],
    ['week', 7 * 86_400, 14 * 86_400],
    ['day', 86_400, 48 * 3600],
    ['hour', 3600, 3600],
    ['minute', 60, 60],
    ['second', 1, 0]
  ]
  const [name, length] = units.find(([, , from]) => seconds >= from) ?? ['second', 1]
  const n = Math.floor(seconds / length)
  return `${n} ${name}${n === 1 ? '' : 's'} ago`
}

/**
 * Rows in columns as wide as their longest cell; `right` names the columns that hold numbers. On a `screen`, the head
 * stands out, and so do cells that say how something is.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
  screen?: Screen
): string[] {
  const shown = rows.map((row) => row.map(printable))
  const widths = head.map((cell, i) =>
    shown.reduce((most, row) => Math.max(most, row[i]?.length ?? 0), cell.length)
  )
  const line = (cells: readonly string[], paint: (cell: string) => string) =>
    cells
      .map((cell, i) => {
        const space = ' '.repeat(Math.max(0, (widths[i] ?? 0) - cell.length))
        if (right.includes(i)) return space + paint(cell)
        return i === cells.length - 1 ? paint(cell) : paint(cell) + space
      })
      .join('  ')
      .trimEnd()
  return [
    line(head, (cell) => screen?.paint(cell, 'bold') ?? cell),
    ...shown.map((row) => line(row, (cell) => paintState(cell, screen)))
  ]
}

/** A word that says how something is, as it stands out on a screen; other text as it is. */
export function paintState(text: string, screen: Screen | undefined): string {
  const paint = paintOf(text)
  return paint === undefined || screen === undefined ? text : screen.paint(text, paint)
}

/** A report as one line: a bar where the total is known, rate and time left where they can be told. */
export function progressText(report: Progress, seconds: number): string {
  const { what, done, total, unit } = report
  const amount = (value: number) => (unit === 'bytes' ? formatBytes(value) : String(value))
  const rate = seconds > 0 ? done / seconds : 0
  const speed = seconds >= 1 ? `${amount(Math.round(rate))}/s` : ''
  if (total === undefined) return [what, amount(done), speed].filter((part) => part !== '').join('  ')
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const full = Math.round(share * BAR)
  const bar = `[${'='.repeat(full)}${' '.repeat(BAR - full)}]`
  const left = seconds >= 1 && rate > 0 && done < total ? `${formatSeconds((total - done) / rate)} left` : ''
  return [what, bar, `${amount(done)} of ${amount(total)}`, speed, left]
    .filter((part) => part !== '')
    .join('  ')
}

/** Shows progress as one line that changes, and only where somebody looks: `stream` must be a terminal. */
export function createProgressLine(stream: NodeJS.WriteStream): {
  show(report: Progress): void
  /** Removes the line, before anything else is printed. */
  clear(): void
} {
  let shown = false
  let last = 0
  let what = ''
  let start = 0
  return {
    show(report) {
      const now = Date.now()
      if (report.what !== what) {
        what = report.what
        start = now
        last = 0
      }
      if (!stream.isTTY || now - last < REFRESH) return
      last = now
      const text = progressText(report, (now - start) / 1000).slice(0, (stream.columns || 80) - 1)
      stream.write(`\r\u001b[K${text}`)
      shown = true
    },
    clear() {
      if (shown) stream.write('\r\u001b[K')
      shown = false
    }
  }
}
