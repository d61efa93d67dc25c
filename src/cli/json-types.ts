/** A field of what a command prints with `--json`. */
export type JsonField = readonly [name: string, type: string, meaning: string]

/** What a command prints: one object, or a list of them. */
export interface JsonShape {
  readonly list?: true
  /** A `?` behind a name: it may be missing. */
  readonly fields: readonly JsonField[]
}
