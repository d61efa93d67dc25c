/** What may be done with a repository, weakest first; see {@link includes}. */
export const ACTIONS = ['pull', 'push', 'delete', 'publish', 'admin'] as const

/** One of {@link ACTIONS}. */
export type Action = (typeof ACTIONS)[number]

/** Whom a request comes from. */
export type Principal =
  | { readonly kind: 'anonymous' }
  /** A user of the users file. */
  | { readonly kind: 'user'; readonly name: string }
  /** A token made by `seaway token create`; it brings its own rights. */
  | { readonly kind: 'token'; readonly id: string; readonly name: string; readonly grant: Grant }
  /** Whoever an issuer of the rules file vouches for; `issuer` is that issuer's name there. */
  | {
      readonly kind: 'external'
      readonly issuer: string
      readonly name: string
      readonly claims: Readonly<Record<string, string>>
    }

/** Rights on some repositories: globs of names, and `!glob` for what is not among them. */
export interface Grant {
  readonly repositories: readonly string[]
  readonly can: readonly Action[]
}

/** Nobody in particular. */
export const ANONYMOUS: Principal = { kind: 'anonymous' }

/** Whether rights that were given include an action: `admin` is everything, and who pushes reads what is there. */
export function includes(can: readonly Action[], action: Action): boolean {
  return can.includes('admin') || can.includes(action) || (action === 'pull' && can.includes('push'))
}

/** What a principal is called in rules, messages and the audit log: `alice`, `github:acme/app`, `token:ci`, `anonymous`. */
export function nameOf(principal: Principal): string {
  if (principal.kind === 'anonymous') return 'anonymous'
  if (principal.kind === 'user') return principal.name
  return `${principal.kind === 'token' ? 'token' : principal.issuer}:${principal.name}`
}

/** A text that no two principals share: whose an upload is, for one. */
export function keyOf(principal: Principal): string {
  return principal.kind === 'token' ? `token:${principal.id}` : nameOf(principal)
}
