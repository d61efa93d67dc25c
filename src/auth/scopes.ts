/** One resource and what may be done with it, as Docker's token specification writes it. */
export interface ScopeAccess {
  readonly type: string
  readonly name: string
  readonly actions: readonly string[]
}

/** The scope that lists of repositories ask for. */
export const CATALOGUE: ScopeAccess = { type: 'registry', name: 'catalog', actions: ['*'] }

/** How many scopes one request may ask for. */
export const MAX_SCOPES = 32

/**
 * Reads `scope` parameters: each holds any number of scopes, parted by spaces. What is no scope is passed over, and so
 * are types that are not known here, as Docker's own server does.
 *
 * @see https://distribution.github.io/distribution/spec/auth/scope/
 */
export function parseScopes(texts: readonly string[]): readonly ScopeAccess[] {
  const found = new Map<string, ScopeAccess>()
  for (const text of texts.flatMap((each) => each.split(' ')).slice(0, MAX_SCOPES)) {
    // the name may hold a colon itself: a host with a port
    const [, type, name, actions] = /^([a-z0-9]+)(?:\([a-z0-9]+\))?:(.+):([a-z*,]*)$/.exec(text) ?? []
    if (type === undefined || name === undefined || name.length > 512) continue
    const key = `${type}:${name}`
    const asked = (actions ?? '').split(',').filter((action) => action !== '')
    found.set(key, { type, name, actions: [...new Set([...(found.get(key)?.actions ?? []), ...asked])] })
  }
  return [...found.values()]
}

/** A scope as clients ask for it. */
export function formatScope({ type, name, actions }: ScopeAccess): string {
  return `${type}:${name}:${actions.join(',')}`
}
