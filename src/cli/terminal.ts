import type { Progress } from './command.ts'

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

/** Rows in columns as wide as their longest cell; `right` names the columns that hold numbers. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = []
): string[] {
  const widths = head.map((cell, i) => Math.max(cell.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd()
  return [line(head), ...rows.map(line)]
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
