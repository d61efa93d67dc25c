/** The ways of putting TXT records into a zone: what they have in common. */
import { RegistryError } from '../oci/errors.ts'
import type { TxtRecord } from './records.ts'

/** A TXT record as it stands in a zone. */
export interface ZoneRecord {
  /** Its strings, joined. */
  readonly text: string
  /** Seconds. */
  readonly ttl: number
  /** The publisher's own handle of it. */
  readonly handle?: unknown
}

/** All TXT records of a name. */
export interface RecordSet {
  readonly name: string
  readonly records: readonly ZoneRecord[]
}

/** What shall stand at `name`: `record` takes the place of all TXT records there whose text begins with `prefix`. */
export interface RecordChange {
  readonly name: string
  readonly prefix: string
  /** `undefined` takes them away only. */
  readonly record: TxtRecord | undefined
  /** The TTL that was asked for, in seconds, as the way can set it; any will do without. */
  readonly ttl?: number
}

/** What is published, in the words of whoever carries it out by a program of his own. */
export interface PublishFacts {
  readonly domain: string
  readonly root: string
  /** The root that was published until now. */
  readonly previous: string | undefined
}

/** Puts records into a zone. */
export interface Publisher {
  /** For messages: `the RFC 2136 update of ns.example.com:53`. */
  readonly what: string
  /** The TTL that a record gets when this one is asked for, in seconds; that one unless given. */
  ttlOf?(seconds: number): number
  /** What the zone itself holds now, fresher than any resolver. Not there where the way has no eyes. */
  read?(names: readonly string[], options: { signal: AbortSignal }): Promise<readonly RecordSet[]>
  /**
   * Makes the changes, all or none where the way can do that. Records of other kinds at the same names stay.
   *
   * @param options.seen what `read` found, on which the changes rest
   * @throws {ZoneChanged} when the zone isn't as it was seen any more; nothing was changed then
   * @throws {RegistryError} DENIED, SOURCE_FAILED or SOURCE_TIMEOUT, saying what to do
   */
  write(
    changes: readonly RecordChange[],
    options: { seen: readonly RecordSet[]; facts: PublishFacts; signal: AbortSignal }
  ): Promise<void>
}

/** Somebody else changed the records between the look at them and the change. */
export class ZoneChanged extends RegistryError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('DENIED', message, options)
  }
}

/** The records of `sets` at `name`. */
export function recordsAt(sets: readonly RecordSet[], name: string): readonly ZoneRecord[] {
  return sets.find((set) => set.name === name)?.records ?? []
}

/** Whether the records are already what the change asks for: the same texts, and none beside them. */
export function isDone(change: RecordChange, sets: readonly RecordSet[]): boolean {
  const present = recordsAt(sets, change.name).filter(({ text }) => text.startsWith(change.prefix))
  const wanted = change.record === undefined ? [] : [change.record.value]
  return present.length === wanted.length && present.every(({ text }) => wanted.includes(text))
}

/** Whether the records there have the TTL that was asked for. Beside others at the name they share the TTL of those. */
export function hasTtl({ name, prefix, ttl }: RecordChange, sets: readonly RecordSet[]): boolean {
  const present = recordsAt(sets, name)
  if (ttl === undefined || present.some(({ text }) => !text.startsWith(prefix))) return true
  return present.every((record) => record.ttl === ttl)
}
