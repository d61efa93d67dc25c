import { styleText } from 'node:util'

/** How text stands out on a terminal. */
export type Paint = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

/** Where people read what is printed; where they don't, in a pipe, nothing stands out and nothing is cut off. */
export interface Screen {
  /** In characters; not there where it is no terminal. */
  readonly columns: number | undefined
  /** Text that stands out, where it can and the user wants it to: `NO_COLOR` is heeded. */
  paint(text: string, as: Paint): string
}

/** How wide a terminal is that doesn't say so, in characters. */
const COLUMNS = 80

/** A screen for what is written to `stream`. @see https://no-color.org */
export function createScreen(stream: NodeJS.WriteStream): Screen {
  return {
    get columns() {
      return stream.isTTY ? stream.columns || COLUMNS : undefined
    },
    // nothing but a terminal is painted on, whatever FORCE_COLOR says of pipes: programs read those
    paint: (text, as) => (stream.isTTY && text !== '' ? styleText(as, text, { stream }) : text)
  }
}

/** What a state looks like. */
export function paintOf(state: string): Paint | undefined {
  if (['ok', 'repaired', 'added', 'taken', 'published'].includes(state)) return 'green'
  if (['warning', 'changed', 'skipped', 'unneeded', 'kept'].includes(state)) return 'yellow'
  return ['failed', 'bad', 'removed', 'conflict'].includes(state) ? 'red' : undefined
}

/**
 * Somebody else's text as it may be shown: characters that steer a terminal, or turn the direction of text around, are
 * written out, so that a label can't paint over what is true.
 */
export function printable(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is sought
    // oxlint-disable-next-line no-control-regex -- as above
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`
  )
}

/** The beginning of a text that is longer than `length`. */
export function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(0, length - 1))}…`
}
