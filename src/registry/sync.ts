import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import {
  becomeRoot,
  type Change,
  type Directories,
  descentRows,
  type LoadBlock,
  type MergedTag,
  mergeTrees,
  type TreeWriter
} from '../tree/index.ts'
import type { TagTimes } from './tag-times.ts'

/** What is asked of a sync. */
export interface SyncRequest {
  readonly domain: string
  /** Whose tag counts where both sides changed it; refused without. */
  readonly prefer?: 'ours' | 'theirs'
  /** Change nothing, only say what would be. */
  readonly dryRun?: boolean
}

/** What came of it. */
export interface SyncReport {
  readonly domain: string
  /** The root that both come from, where one is known. */
  readonly base?: string
  /** Our root before. */
  readonly local?: string
  readonly published?: string
  /** Our root afterwards, or what it is still. */
  readonly root?: string
  /** `current`: there was nothing to merge. `synced`: done. `dry`: it would be done. */
  readonly outcome: 'current' | 'synced' | 'dry'
  readonly taken: readonly MergedTag[]
  readonly kept: readonly MergedTag[]
  /** Tags that both sides changed, and whose counted. */
  readonly conflicts: readonly MergedTag[]
  readonly prefer?: 'ours' | 'theirs'
}

/** Merges what others published into the local tree. */
export interface Sync {
  /**
   * @throws {RegistryError} NAME_UNKNOWN when nothing is published, DENIED for tags that both sides changed and
   *   nobody decided about (they are its detail); SOURCE_FAILED and SOURCE_TIMEOUT
   */
  (request: SyncRequest, signal: AbortSignal): Promise<SyncReport>
}

/** How often it begins anew when somebody pushes at the same time. */
const MAX_RACES = 5

/** How many conflicts are named in a message. */
const MAX_NAMED = 10

export function createSync(options: {
  trees: TreeWriter
  directories: Directories
  /** The published root as it is now, and a way to its blocks. */
  published: (domain: string, signal: AbortSignal) => Promise<{ root: CID; load: LoadBlock } | undefined>
  /** The newest root known to have been published and to be in our tree's past. */
  common: (domain: string) => Promise<CID | undefined>
  noteCommon: (domain: string, root: CID) => Promise<void>
  tagTimes: Pick<TagTimes, 'rows' | 'rowsBetween' | 'untimedRows'>
  log: Log
}): Sync {
  const { trees, directories, tagTimes, log } = options

  return async ({ domain, prefer, dryRun = false }, signal) => {
    const found = await options.published(domain, signal)
    if (found === undefined)
      throw new RegistryError('NAME_UNKNOWN', `${domain} publishes nothing, so there is nothing to sync with`)
    const theirs = found.root
    for (let race = 1; ; race++) {
      const ours = await trees.root(domain)
      const nothing = { taken: [], kept: [], conflicts: [] }
      const facts = { domain, published: theirs.toString(), ...(ours && { local: ours.toString() }) }
      if (ours !== undefined && (ours.equals(theirs) || (await trees.had(domain, theirs)))) {
        await options.noteCommon(domain, theirs)
        return { ...facts, root: ours.toString(), outcome: 'current', ...nothing }
      }
      const base = (await options.common(domain)) ?? (await trees.base(domain))
      const begun = { ...facts, ...(base && { base: base.toString() }), ...(prefer && { prefer }) }
      const context = { directories, load: found.load, signal }
      const merge =
        ours === undefined ? undefined : await mergeTrees({ base, ours, theirs, domain, prefer, ...context })
      const report =
        merge === undefined ? nothing : { taken: merge.taken, kept: merge.kept, conflicts: merge.conflicts }
      if (report.conflicts.length > 0 && prefer === undefined && !dryRun)
        throw conflict(domain, report.conflicts)
      if (dryRun) return { ...begun, ...(ours && { root: ours.toString() }), outcome: 'dry', ...report }
      const replaces = merge === undefined || base?.equals(ours) === true
      const change: Change = replaces
        ? await becomeRoot(ours, theirs, directories, found.load, signal)
        : merge.change
      const times = replaces
        ? await tagTimes.rowsBetween(domain, ours, theirs, found.load, signal)
        : await tagTimes.rows(domain, merge.moves)
      // all in one step: who has the merged tree must know what it came from, and since when its tags are what they are
      const rows = [...descentRows(domain, theirs), ...(await tagTimes.untimedRows(domain)), ...times]
      const whole = { ...change, rows }
      let moved = false
      const root = await trees.change(
        domain,
        async (view) => {
          moved = view !== undefined && ours !== undefined && !view.root.equals(ours)
          if (moved) return undefined
          return whole
        },
        { signal, base: async () => (ours === undefined ? theirs : undefined) }
      )
      if (moved) {
        if (race >= MAX_RACES)
          throw new RegistryError('UNAVAILABLE', `${domain} is being pushed to: try again when it is quiet`)
        continue
      }
      await options.noteCommon(domain, theirs)
      log.info({ domain, published: theirs.toString(), root: root.toString() }, 'merged the published tree')
      return { ...begun, root: root.toString(), outcome: 'synced', ...report }
    }
  }
}

function conflict(domain: string, conflicts: readonly MergedTag[]): RegistryError {
  const names = conflicts.slice(0, MAX_NAMED).map(({ repository, tag, ours, theirs }) => {
    const side = (digest: string | undefined): string => digest?.slice(0, 19) ?? 'removed'
    return `${repository}:${tag} (here ${side(ours)}, published ${side(theirs)})`
  })
  const more = conflicts.length > MAX_NAMED ? ` and ${conflicts.length - MAX_NAMED} more` : ''
  return new RegistryError(
    'DENIED',
    `tags of ${domain} were changed both here and in what is published: ${names.join(', ')}${more}; say whose count with --ours or --theirs`,
    { detail: { conflicts } }
  )
}
