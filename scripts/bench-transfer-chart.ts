/** The chart of `bench-transfer.ts`: bars by hand, readable on light and on dark ground. */

/** One bar. */
export interface Bar {
  readonly name: string
  /** In MB/s. */
  readonly rate: number
  /** In MB. */
  readonly memory: number
  /** The rate that it should reach, in MB/s. */
  readonly goal: number | undefined
  readonly ours: boolean
}

/** Bars that are measured against each other. */
export interface Group {
  readonly title: string
  readonly bars: readonly Bar[]
}

const WIDTH = 760
const LABEL = 250
const BAR = 20
const STEP = 28
const HEAD = 44
/** What stands to the right of a bar. */
const FIGURES = 150

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** An SVG of all groups, one below the other, each with a scale of its own; `captions` are its last lines. */
export function chart(groups: readonly Group[], captions: readonly string[]): string {
  const lines: string[] = []
  let y = 12
  for (const { title, bars } of groups) {
    lines.push(`<text class="title" x="12" y="${y + 20}">${escaped(title)}</text>`)
    y += HEAD - 8
    const most = Math.max(...bars.map(({ rate, goal }) => Math.max(rate, goal ?? 0)), 1)
    const long = (rate: number) => Math.max(1, Math.round(((WIDTH - LABEL - FIGURES) * rate) / most))
    for (const { name, rate, memory, goal, ours } of bars) {
      const width = long(rate)
      const end = LABEL + Math.max(width, long(goal ?? 0))
      const middle = y + BAR / 2 + 5
      lines.push(
        `<text class="name" x="${LABEL - 10}" y="${middle}">${escaped(name)}</text>`,
        `<rect class="${ours ? 'ours' : 'other'}" x="${LABEL}" y="${y}" width="${width}" height="${BAR}" rx="3"/>`,
        `<text x="${end + 8}" y="${middle}">${rate.toFixed(0)} MB/s<tspan class="memory">, ${memory.toFixed(0)} MB</tspan></text>`
      )
      if (goal !== undefined) {
        const x = LABEL + long(goal)
        lines.push(`<path class="goal" d="M${x} ${y - 2}v${BAR + 4}"/>`)
      }
      y += STEP
    }
    y += 14
  }
  for (const caption of captions) {
    lines.push(`<text class="caption" x="12" y="${y + 10}">${escaped(caption)}</text>`)
    y += 16
  }
  const height = y + 10
  const caption = captions.join('. ')
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(caption)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.name { text-anchor: end }
.caption { font-size: 11px; fill: #59636e }
.memory { fill: #59636e }
.goal { stroke: #cf222e; stroke-width: 2 }
.ours { fill: #0969da }
.other { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .caption, .memory { fill: #9198a1 }
  .goal { stroke: #f85149 }
  .ours { fill: #4493f8 }
  .other { fill: #57606a }
}
</style>
${lines.join('\n')}
</svg>
`
}
