import type { RetentionRule } from '../config/publishing.ts'
import type { Digest } from '../oci/digest.ts'
import { displayName } from '../oci/reference.ts'
import type { TreeView } from '../tree/index.ts'
import { globMatches } from './glob.ts'
import { isSchemaTag } from './schema-tags.ts'
import type { TagTimes } from './tag-times.ts'

/** A tag that no rule keeps. */
export interface RetiredTag {
  /** The tree's name for the repository. */
  readonly repository: string
  readonly tag: string
  readonly digest: Digest
  /** When it was pushed, or came to point at this otherwise (epoch ms). */
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
  tagTimes: Pick<TagTimes, 'of' | 'moved' | 'untimed'>
  rules: readonly RetentionRule[]
}): Retention {
  const { tagTimes, rules } = options

  async function tagsOf(
    domain: string,
    view: TreeView,
    repository: string,
    name: string,
    signal: AbortSignal
  ): Promise<RetiredTag[]> {
    const begun = await tagTimes.untimed(domain)
    const tags: RetiredTag[] = []
    for (const tag of await view.tags(repository, signal)) {
      signal.throwIfAborted()
      // These speak of a manifest, and go with it.
      if (isSchemaTag(tag)) continue
      const digest = await view.tag(repository, tag, signal)
      if (digest === undefined) continue
      const at = (await tagTimes.of(domain, repository, tag, digest)) ?? begun
      // How old it is can't be told, and so not that it is old enough.
      if (at === undefined) continue
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
      // A push of the same may wait together with what takes the tag out: its rows aren't written yet.
      if ((tagTimes.moved(domain, repository, tag) ?? at) > at) return false
      const pushed = await tagTimes.of(domain, repository, tag, digest)
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
        // A tag from before the clock was set back isn't younger than nothing.
        i >= rule.last &&
        Math.max(0, now - at) >= rule.newerMs &&
        !rule.match.some((glob) => globMatches(glob, tag))
    )
}
