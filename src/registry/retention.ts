import type { RetentionRule } from '../config-values.ts'
import type { Digest } from '../oci/digest.ts'
import { displayName } from '../oci/reference.ts'
import type { Store } from '../store/index.ts'
import type { TreeView, TreeWriter } from '../tree/index.ts'
import { globMatches } from './glob.ts'
import { isSchemaTag } from './schema-tags.ts'
import { tagTimeKey } from './tag-times.ts'

/** A tag that no rule keeps. */
export interface RetiredTag {
  /** The tree's name for the repository. */
  readonly repository: string
  readonly tag: string
  readonly digest: Digest
  /** When it was pushed (epoch ms). */
  readonly at: number
  /** As clients name it, `example.com/app:1`. */
  readonly image: string
}

/** Finds the tags that no rule keeps. Rules are asked in order, and the first that is for the repository counts. */
export interface Retention {
  /** Those of a repository, by the name that the domain's tree has for it. */
  choose(domain: string, view: TreeView, repository: string, signal: AbortSignal): Promise<RetiredTag[]>
  /** Whether a tag that was chosen still is what it was. */
  stands(domain: string, view: TreeView, chosen: RetiredTag, signal: AbortSignal): Promise<boolean>
}

export function createRetention(options: {
  store: Pick<Store, 'records'>
  trees: Pick<TreeWriter, 'base'>
  rules: readonly RetentionRule[]
}): Retention {
  const { store, trees, rules } = options

  async function pushedAt(domain: string, repository: string, tag: string): Promise<number | undefined> {
    const value = await store.records.get(tagTimeKey(domain, repository, tag))
    return value && Number(Buffer.from(value).toString())
  }

  /** When the published tree came here that the domain's began from: its tags have no times of their own. */
  async function begunAt(domain: string): Promise<number> {
    const base = await trees.base(domain)
    const value = base && (await store.records.get(`was/${domain}/${base}`))
    if (value === undefined) return 0
    return Date.parse((JSON.parse(Buffer.from(value).toString()) as { at: string }).at)
  }

  async function tagsOf(
    domain: string,
    view: TreeView,
    repository: string,
    name: string,
    signal: AbortSignal
  ): Promise<RetiredTag[]> {
    const begun = await begunAt(domain)
    const tags: RetiredTag[] = []
    for (const tag of await view.tags(repository, signal)) {
      signal.throwIfAborted()
      // These speak of a manifest, and go with it.
      if (isSchemaTag(tag)) continue
      const digest = await view.tag(repository, tag, signal)
      if (digest === undefined) continue
      const at = (await pushedAt(domain, repository, tag)) ?? begun
      tags.push({ repository, tag, digest, at, image: `${name}:${tag}` })
    }
    return tags
  }

  return {
    async choose(domain, view, repository, signal) {
      const below = repository.startsWith(`${domain}/`) ? repository.slice(domain.length + 1) : repository
      const name = displayName(domain, below)
      const rule = rules.find((one) => globMatches(one.repositories, name))
      if (rule === undefined) return []
      return leaving(rule, await tagsOf(domain, view, repository, name, signal), Date.now())
    },

    async stands(domain, view, { repository, tag, digest, at }, signal) {
      if ((await view.tag(repository, tag, signal)) !== digest) return false
      const pushed = await pushedAt(domain, repository, tag)
      return pushed === undefined || pushed === at
    }
  }
}

/** The tags that a rule doesn't keep, the newest first. */
export function leaving<T extends { readonly tag: string; readonly at: number }>(
  rule: RetentionRule,
  tags: readonly T[],
  now: number
): T[] {
  return [...tags]
    .sort((a, b) => b.at - a.at || (a.tag < b.tag ? 1 : -1))
    .filter(
      ({ tag, at }, i) =>
        i >= rule.last && now - at >= rule.newerMs && !rule.match.some((glob) => globMatches(glob, tag))
    )
}
