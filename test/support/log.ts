import { pino } from 'pino'
import type { Log } from '../../src/log.ts'

/** A log that is kept in memory, for tests of what an operator is told. */
export function memoryLog(): { readonly log: Log; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = []
  const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>)
  const options = { level: 'info', base: undefined, formatters: { level: (level: string) => ({ level }) } }
  return { log: pino(options, { write }), lines }
}
