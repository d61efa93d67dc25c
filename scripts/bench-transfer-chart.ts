/** The chart of `bench-transfer.ts`: bars by hand, readable on light and on dark ground. */

/** One bar. */
export interface Bar {
  readonly name: string
  /** In MB/s. */
  readonly rate: number
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

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** An SVG of all groups, one below the other, each with a scale of its own. */
export function chart(groups: readonly Group[], caption: string): string {
  const lines: string[] = []
  let y = 12
  for (const { title, bars } of groups) {
    lines.push(`<text class="title" x="12" y="${y + 20}">${escaped(title)}</text>`)
    y += HEAD - 8
    const most = Math.max(...bars.map(({ rate }) => rate), 1)
    for (const { name, rate, ours } of bars) {
      const width = Math.max(1, Math.round(((WIDTH - LABEL - 90) * rate) / most))
      const middle = y + BAR / 2 + 5
      lines.push(
        `<text class="name" x="${LABEL - 10}" y="${middle}">${escaped(name)}</text>`,
        `<rect class="${ours ? 'ours' : 'other'}" x="${LABEL}" y="${y}" width="${width}" height="${BAR}" rx="3"/>`,
        `<text x="${LABEL + width + 8}" y="${middle}">${rate.toFixed(0)} MB/s</text>`
      )
      y += STEP
    }
    y += 14
  }
  lines.push(`<text class="caption" x="12" y="${y + 10}">${escaped(caption)}</text>`)
  const height = y + 26
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(caption)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.name { text-anchor: end }
.caption { font-size: 11px; fill: #59636e }
.ours { fill: #0969da }
.other { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .caption { fill: #9198a1 }
  .ours { fill: #4493f8 }
  .other { fill: #57606a }
}
</style>
${lines.join('\n')}
</svg>
`
}
