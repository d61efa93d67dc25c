import type { Digest } from '../oci/digest.ts'
import type { Inspection } from './look-inspect.ts'

/** A tag that two sources don't have alike. */
export interface ImageChange {
  readonly repository: string
  readonly tag: string
  readonly change: 'added' | 'removed' | 'changed'
  readonly before?: Digest
  readonly after?: Digest
}

/** What is different between two sources, as far as it is listed. */
export interface SourceChanges {
  readonly changes: readonly ImageChange[]
  /** Changes beside those. */
  readonly more: number
}

/** A tag of a list in the order of names. */
export interface TagEntry {
  readonly repository: string
  readonly tag: string
  readonly digest: Digest
}

/** Layers of two images, side by side. */
export interface LayerChange {
  readonly change: 'same' | 'added' | 'removed'
  readonly digest: Digest
  /** In bytes, compressed. */
  readonly size: number
  readonly cid?: string
}

/** The tags that differ between two lists, each in the order of names and tags; read in step. */
export async function diffLists(
  before: AsyncGenerator<TagEntry>,
  after: AsyncGenerator<TagEntry>,
  limit: number
): Promise<SourceChanges> {
  const changes: ImageChange[] = []
  let more = 0
  const note = (change: ImageChange) => {
    if (changes.length === limit) more++
    else changes.push(change)
  }
  try {
    let [a, b] = [await before.next(), await after.next()]
    while (a.done !== true || b.done !== true) {
      const [old, now] = [a.done === true ? undefined : a.value, b.done === true ? undefined : b.value]
      const order = old === undefined ? 1 : now === undefined ? -1 : compare(old, now)
      if (old !== undefined && order < 0) note(changeOf(old, 'removed'))
      else if (now !== undefined && order > 0) note(changeOf(now, 'added'))
      else if (old !== undefined && now !== undefined && old.digest !== now.digest)
        note({ ...changeOf(now, 'changed'), before: old.digest })
      if (order <= 0) a = await before.next()
      if (order >= 0) b = await after.next()
    }
    return { changes, more }
  } finally {
    await Promise.all([before.return(undefined), after.return(undefined)])
  }
}

function changeOf({ repository, tag, digest }: TagEntry, change: ImageChange['change']): ImageChange {
  return { repository, tag, change, [change === 'removed' ? 'before' : 'after']: digest }
}

function compare(a: TagEntry, b: TagEntry): number {
  if (a.repository !== b.repository) return a.repository < b.repository ? -1 : 1
  return a.tag === b.tag ? 0 : a.tag < b.tag ? -1 : 1
}

/**
 * The layers of two images: those of the one before in its order, those that are only in the one after in theirs. Of
 * several platforms, each layer once.
 */
export function diffLayers(before: Inspection | undefined, after: Inspection | undefined): LayerChange[] {
  const layersOf = (image: Inspection | undefined) =>
    new Map((image?.platforms ?? []).flatMap(({ layers }) => layers.map((layer) => [layer.digest, layer])))
  const [old, now] = [layersOf(before), layersOf(after)]
  const row = (change: LayerChange['change'], { digest, size, cid }: LayerChange | InspectedLayer) => ({
    change,
    digest,
    size,
    ...(cid !== undefined && { cid })
  })
  return [
    ...[...old.values()].map((layer) => row(now.has(layer.digest) ? 'same' : 'removed', layer)),
    ...[...now.values()].filter(({ digest }) => !old.has(digest)).map((layer) => row('added', layer))
  ]
}

type InspectedLayer = Inspection['platforms'][number]['layers'][number]

/** What configs say otherwise, by field: `env.PATH`, `labels.version`, `cmd`. */
export function diffConfigs(
  before: Inspection,
  after: Inspection
): { field: string; before?: string; after?: string }[] {
  const [old, now] = [fieldsOf(before), fieldsOf(after)]
  return [...new Set([...old.keys(), ...now.keys()])].sort().flatMap((field) => {
    const [was, is] = [old.get(field), now.get(field)]
    if (was === is) return []
    return [{ field, ...(was !== undefined && { before: was }), ...(is !== undefined && { after: is }) }]
  })
}

function fieldsOf({ platforms }: Inspection): Map<string, string> {
  const fields = new Map<string, string>()
  const { about } = platforms.find((one) => one.about !== undefined) ?? {}
  if (about === undefined) return fields
  const { env, labels, steps: _, ...rest } = about
  for (const [name, value] of Object.entries(rest)) {
    const text = Array.isArray(value) ? value.join(' ') : String(value)
    if (text !== '') fields.set(name, text)
  }
  for (const [name, value] of Object.entries(labels)) fields.set(`labels.${name}`, value)
  for (const one of env) {
    const at = one.indexOf('=')
    fields.set(`env.${at === -1 ? one : one.slice(0, at)}`, at === -1 ? '' : one.slice(at + 1))
  }
  return fields
}
