import { type IndexWrite, recordRow } from '../store/index.ts'

/**
 * When tags were pushed: records `tag/<domain>/<repository>\0<tag>`, written in one step with the tag. A tree
 * can't hold it without making the same content two different trees.
 */
export function tagTimeKey(domain: string, repository: string, tag: string): string {
  return `tag/${domain}/${repository}\0${tag}`
}

/** The rows that say that tags are pushed now. `repository` is the tree's name for it. */
export function tagTimeRows(domain: string, repository: string, tags: readonly string[]): IndexWrite[] {
  const now = Buffer.from(String(Date.now()))
  return tags.map((tag) => recordRow(tagTimeKey(domain, repository, tag), now))
}
