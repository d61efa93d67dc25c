import type { Digest } from '../oci/digest.ts'
import type { Superfluous } from './collect-plan.ts'

/**
 * Groups of manifests that can only go together: one that stays after all, because somebody relies on it, keeps
 * those that it names and those that refer to it.
 */
export function togetherOnly(manifests: readonly Superfluous[]): Superfluous[][] {
  const above = new Map<Digest, Digest>()
  const top = (digest: Digest): Digest => {
    let at = digest
    for (let next = above.get(at); next !== undefined; next = above.get(at)) {
      const beyond = above.get(next)
      // halves the way for those who come later
      if (beyond !== undefined) above.set(at, beyond)
      at = next
    }
    return at
  }
  for (const { digest, named, tags } of manifests) {
    const others = [...named.children, ...tags.map(({ subject }) => subject)]
    if (named.subject !== undefined) others.push(named.subject)
    for (const other of others) {
      const [from, to] = [top(other), top(digest)]
      if (from !== to) above.set(from, to)
    }
  }
  return [...Map.groupBy(manifests, ({ digest }) => top(digest)).values()]
}
