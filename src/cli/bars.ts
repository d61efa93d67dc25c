import type { Moved, Reporter } from '../move/index.ts'
import { createScreen, cut, type Paint, printable } from './screen.ts'
import { formatBytes, progressText } from './terminal.ts'

/** How often the bars are drawn anew, in milliseconds. */
const REFRESH = 100

/** The most bars that are shown at a time. */
const ROWS = 12

interface Bar {
  readonly name: string
  readonly total: number | undefined
  readonly start: number
  done: number
}

/**
 * A bar a blob and a line of totals, on a terminal; nothing where `stream` is none, or a program reads the result. Bars
 * that are full move up and stay.
 */
export function createBars(
  stream: NodeJS.WriteStream,
  quiet: boolean
): { readonly reporter: Reporter; clear(): void } {
  const screen = createScreen(stream)
  const shown = screen.columns !== undefined && !quiet
  const bars = new Set<Bar>()
  const start = Date.now()
  let lines: { readonly text: string; readonly as?: Paint }[] = []
  let drawn = 0
  let all = { done: 0, total: 0 }

  /** A line that takes one row of the screen. */
  const row = (text: string, as?: Paint): string => {
    const short = cut(printable(text), (screen.columns ?? 0) - 1)
    return `${as === undefined ? short : screen.paint(short, as)}\n`
  }
  function erase(): string {
    // line by line: of a screen that is cleared from its top, tmux keeps what was there
    const lines = '\u001b[1A\u001b[2K'.repeat(drawn)
    drawn = 0
    return `\r${lines}`
  }
  function draw(): void {
    if (!shown) return
    const seconds = (now: number) => (Date.now() - now) / 1000
    const rows = [...bars].slice(0, ROWS).map((bar) => {
      const { name, done, total } = bar
      return progressText(
        { what: name, done, ...(total !== undefined && { total }), unit: 'bytes' },
        seconds(bar.start)
      )
    })
    if (bars.size > ROWS) rows.push(`… and ${bars.size - ROWS} more`)
    if (all.total > 0)
      rows.push(progressText({ what: 'in all      ', ...all, unit: 'bytes' }, seconds(start)))
    const above = lines.map(({ text, as }) => row(text, as))
    stream.write([erase(), ...above, ...rows.map((text) => row(text))].join(''))
    lines = []
    drawn = rows.length
  }
  const timer = shown ? setInterval(draw, REFRESH) : undefined
  timer?.unref()

  return {
    reporter: {
      note(text) {
        lines.push({ text })
      },
      blob(name, total) {
        const bar: Bar = { name, total, start: Date.now(), done: 0 }
        bars.add(bar)
        all = { ...all, total: all.total + (total ?? 0) }
        return {
          add(bytes) {
            bar.done += bytes
            all = { ...all, done: all.done + bytes }
          },
          done(skipped) {
            bars.delete(bar)
            if (skipped) all = { ...all, total: all.total - (total ?? 0) }
            const size = formatBytes(total ?? bar.done)
            lines.push(
              skipped ? { text: `${name}  already there (${size})`, as: 'dim' } : { text: `${name}  ${size}` }
            )
          }
        }
      }
    },
    clear() {
      clearInterval(timer)
      bars.clear()
      all = { done: 0, total: 0 }
      draw()
    }
  }
}

/** What was moved, in one line. */
export function movedText({ blobs, bytes, skipped, skippedBytes }: Moved): string {
  const what = (count: number) => (count === 1 ? '1 blob' : `${count} blobs`)
  return `${what(blobs)} moved (${formatBytes(bytes)}), ${what(skipped)} there already (${formatBytes(skippedBytes)})`
}
