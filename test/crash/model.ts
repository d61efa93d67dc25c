/**
 * What may be read after a crash, as far as answers tell: a write that was answered is there unless a later one
 * replaced it; one that was not answered is there or not; two at the same time end in either order.
 */

/** One write that may still be what is read. */
interface Write<T> {
  readonly value: T
  readonly began: number
  /** When it was answered; infinity while it isn't. */
  ended: number
}

let clock = 0

/** A moment in the order of all that clients saw. */
export function tick(): number {
  return ++clock
}

/** A write that was sent. */
export interface Sent {
  /** It was answered with a 2xx. */
  done(): void
  /** It was refused: it changed nothing. */
  refused(): void
}

/** One thing that is written and read whole: what a tag points at, or whether a manifest is there. */
export interface Register<T> {
  /** Whatever may be read now. */
  allowed(): T[]
  /** What must be read; `undefined` when several things may be. */
  certain(): { readonly value: T } | undefined
  begin(value: T): Sent
  /** From here on it may also be `value`, and that never proves anything about the others. */
  maybe(value: T): void
  /** It can't be `value` any more unless that was written since `moment`. */
  not(value: T, moment: number): void
  /** It was read after a restart: that is what it is. */
  settle(value: T): void
}

export function createRegister<T>(first: T): Register<T> {
  let writes: Write<T>[] = [{ value: first, began: 0, ended: 0 }]

  /** Drops what an answered write replaced for certain: all that was answered before that one began. */
  function prune(): void {
    const latest = Math.max(...writes.filter(({ ended }) => ended !== Infinity).map(({ began }) => began), -1)
    writes = writes.filter(({ ended }) => ended >= latest)
  }

  const allowed = () => [...new Set(writes.map(({ value }) => value))]
  return {
    allowed,
    certain() {
      const values = allowed()
      return values.length === 1 ? { value: values[0] as T } : undefined
    },
    begin(value) {
      const write: Write<T> = { value, began: tick(), ended: Infinity }
      writes.push(write)
      return {
        done() {
          write.ended = tick()
          prune()
        },
        refused() {
          writes = writes.filter((other) => other !== write)
        }
      }
    },
    maybe(value) {
      writes.push({ value, began: tick(), ended: Infinity })
    },
    not(value, moment) {
      const left = writes.filter((write) => write.value !== value || write.ended > moment)
      if (left.length > 0) writes = left
    },
    settle(value) {
      writes = [{ value, began: tick(), ended: tick() }]
    }
  }
}

/** A manifest that a client made. */
export interface Made {
  readonly digest: string
  readonly mediaType: string
  readonly bytes: Buffer
  /** Of an index. */
  readonly children: readonly string[]
  readonly subject: string | undefined
}

/** Everything that clients have written to one data folder. */
export interface Model {
  /** What tags point at, by `<repository>:<tag>`; `undefined` for nothing. */
  tag(repository: string, tag: string): Register<string | undefined>
  /** Whether a repository has a manifest. */
  manifest(repository: string, made: Made): Register<boolean>
  /** Whether a repository has a blob that no manifest of its names. */
  loose(repository: string, digest: string): Register<boolean>
  readonly tags: ReadonlyMap<string, Register<string | undefined>>
  readonly manifests: ReadonlyMap<
    string,
    { readonly made: Made; readonly is: Register<boolean>; readonly since: number }
  >
  readonly looses: ReadonlyMap<string, Register<boolean>>
  forget(kind: 'manifests' | 'looses', key: string): void
  /** When a collection was last begun or, later, ended. */
  collected: number
}

export function createModel(): Model {
  const tags = new Map<string, Register<string | undefined>>()
  const manifests = new Map<string, { made: Made; is: Register<boolean>; since: number }>()
  const looses = new Map<string, Register<boolean>>()
  return {
    tags,
    manifests,
    looses,
    collected: -1,
    tag(repository, tag) {
      const key = `${repository}:${tag}`
      const known = tags.get(key) ?? createRegister<string | undefined>(undefined)
      tags.set(key, known)
      return known
    },
    manifest(repository, made) {
      const key = `${repository}@${made.digest}`
      const known = manifests.get(key)
      const entry = { made, is: known?.is ?? createRegister(false), since: tick() }
      manifests.set(key, entry)
      return entry.is
    },
    loose(repository, digest) {
      const key = `${repository}@${digest}`
      const known = looses.get(key) ?? createRegister(false)
      looses.set(key, known)
      return known
    },
    forget: (kind, key) => void (kind === 'manifests' ? manifests : looses).delete(key)
  }
}
