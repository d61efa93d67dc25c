import { cut, type Paint, type Screen } from './screen.ts'

/** A column of a table that is printed as its rows come. */
export interface Column {
  readonly head: string
  /** Whether it holds numbers, which stand on the right. */
  readonly right?: boolean
  /** How it stands out, by what is in it. */
  readonly paint?: (cell: string) => Paint | undefined
}

/** How wide the last column is at least, where a line is cut off at a terminal's edge. */
const LAST = 8

/** A table whose rows come bit by bit. */
export interface Columns {
  /** Prints rows. Columns are as wide as the widest cell so far: later rows may widen them, and never narrow them. */
  rows(rows: readonly (readonly string[])[]): void
  /** Prints the head, where no row has been. */
  end(): void
}

/** Makes one. Where somebody reads it on a terminal, the last column is cut off at its edge. */
export function createColumns(
  columns: readonly Column[],
  { screen, print }: { screen: Screen; print: (line: string) => void }
): Columns {
  const widths = columns.map(({ head }) => head.length)
  let begun = false

  function line(cells: readonly string[], paint: (text: string, column: number) => string): string {
    let used = 0
    const parts = columns.map(({ right }, i) => {
      const last = i === columns.length - 1
      const cell = cells[i] ?? ''
      const edge = screen.columns
      const shown = last && edge !== undefined ? cut(cell, Math.max(LAST, edge - used - 1)) : cell
      const width = widths[i] ?? 0
      used += width + 2
      // padding isn't painted, so that lines end where their text does
      const space = ' '.repeat(Math.max(0, width - shown.length))
      return right === true ? space + paint(shown, i) : paint(shown, i) + (last ? '' : space)
    })
    return parts.join('  ').trimEnd()
  }

  function head(): void {
    if (begun) return
    begun = true
    print(
      line(
        columns.map((column) => column.head),
        (text) => screen.paint(text, 'bold')
      )
    )
  }

  return {
    rows(rows) {
      // what stands at the end of a line needs no room behind it
      for (const row of rows)
        for (const [i, cell] of row.entries())
          if (i < columns.length - 1 || columns[i]?.right === true)
            widths[i] = Math.max(widths[i] ?? 0, cell.length)
      head()
      for (const row of rows)
        print(
          line(row, (text, i) => {
            const paint = columns[i]?.paint?.(row[i] ?? '')
            return paint === undefined ? text : screen.paint(text, paint)
          })
        )
    },
    end: head
  }
}

/** A whole table. */
export function printTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  to: { screen: Screen; print: (line: string) => void }
): void {
  const table = createColumns(columns, to)
  table.rows(rows)
}
