import type { RepositoryName } from '../oci/reference.ts'
import { displayName } from '../oci/reference.ts'
import { globMatches } from '../registry/glob.ts'
import { withPlainRoot } from './root-name.ts'
import type { Rule } from './rules.ts'
import { type Action, ANONYMOUS, type Grant, includes, nameOf, type Principal } from './types.ts'

/** Whether something is allowed, and why. */
export interface Decision {
  readonly allowed: boolean
  /** One sentence, for people. */
  readonly why: string
}

/** What rules and tokens call a repository: `app`, `example.com/app`, `ipfs/<CID>/app`. */
export function rightsName({ place, repository }: RepositoryName): string {
  if (place.kind === 'domain') return displayName(place.domain, repository)
  return withPlainRoot(`${place.kind}/${place.kind === 'ipfs' ? place.cid : place.name}/${repository}`)
}

/** Whether a name is one below a root that the request names: then only globs that say so are for it. */
const BELOW_ROOT = /^(ipfs|ipns)\/[^/]+\//

/**
 * Whether a grant is for a repository. `**` is every repository of every domain, but nothing below `ipfs/` and `ipns/`:
 * a root named by its CID may be that of any tree, so who may read those is said in so many words.
 */
export function grantsRepository({ repositories }: Pick<Grant, 'repositories'>, name: string): boolean {
  const root = BELOW_ROOT.exec(name)?.[1]
  const plain = (glob: string) => (root === undefined ? glob : withPlainRoot(glob))
  const matches = (glob: string) =>
    globMatches(plain(glob), name) && (root === undefined || glob.startsWith(`${root}/`))
  return (
    repositories.some((glob) => !glob.startsWith('!') && matches(glob)) &&
    // what is taken out is taken out whatever way it is written
    !repositories.some((glob) => glob.startsWith('!') && globMatches(plain(glob.slice(1)), name))
  )
}

/** Whether a grant is for all of a domain, or for everything (`undefined`), without exception. */
function grantsAll({ repositories }: Pick<Grant, 'repositories'>, domain: string | undefined): boolean {
  return (
    !repositories.some((glob) => glob.startsWith('!')) &&
    repositories.some((glob) => glob === '**' || (domain !== undefined && glob === `${domain}/**`))
  )
}

/** Whether a grant may be for anything whose name begins so, as `example.com/`. What is taken out of it doesn't count. */
function grantsWithin({ repositories }: Pick<Grant, 'repositories'>, prefix: string): boolean {
  const root = /^ip[fn]s\//.exec(prefix)?.[0]
  return repositories.some((glob) => {
    if (glob.startsWith('!')) return false
    return root === undefined
      ? mayReach(glob, prefix)
      : glob.startsWith(root) && mayReach(withPlainRoot(glob), prefix)
  })
}

/** Whether there can be a name that begins so and matches: component by component, as far as the prefix goes. */
function mayReach(glob: string, prefix: string): boolean {
  const parts = glob.split('/')
  const wanted = prefix.split('/').slice(0, -1)
  for (const [i, want] of wanted.entries()) {
    const part = parts[i] ?? ''
    const any = part.indexOf('**')
    if (any >= 0) return globMatches(`${part.slice(0, any)}*`, want)
    if (!globMatches(part, want)) return false
  }
  return parts.length > wanted.length
}

/** Whether a rule is for somebody. A name of an issuer's is never matched by one of the users file, nor the other way round. */
function isFor(rule: Pick<Rule, 'who' | 'claims'>, principal: Principal): boolean {
  if (principal.kind === 'token') return false
  if (principal.kind === 'anonymous') return rule.who.includes('anonymous')
  if (principal.kind === 'user')
    return rule.who.some((who) => !who.includes(':') && globMatches(who, principal.name))
  const { issuer, name, claims } = principal
  return (
    rule.who.some((who) => {
      const at = who.indexOf(':')
      return at > 0 && who.slice(0, at) === issuer && globMatches(who.slice(at + 1), name)
    }) &&
    Object.entries(rule.claims).every(([claim, glob]) => {
      const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined
      return value !== undefined && globMatches(glob, value)
    })
  )
}

/**
 * The rules that are for somebody: its own, or what its token brings, and those for anonymous. Logging in takes nothing
 * away.
 */
export function ownRules(
  rules: readonly Rule[],
  principal: Principal
): readonly (Grant & { what: string })[] {
  const own = rules.filter((rule) => isFor(rule, principal) || isFor(rule, ANONYMOUS))
  return principal.kind === 'token' ? [{ ...principal.grant, what: 'the token' }, ...own] : own
}

/** What is asked about: one repository; any whose name begins so (for a list of them); all of a domain (`publish`); or everything. */
export type Subject =
  | { readonly repository: string }
  | { readonly within: string }
  | { readonly domain: string }
  | { readonly everything: true }

/** Whether `principal` may do `action`: what any rule gives, or what its token brings. */
export function decide(
  rules: readonly Rule[],
  principal: Principal,
  action: Action,
  subject: Subject
): Decision {
  const [where, covers] = readSubject(subject)
  const who = nameOf(principal)
  const own = ownRules(rules, principal)
  const there = own.filter(covers)
  const giving = there.find(({ can }) => includes(can, action))
  if (giving !== undefined) return { allowed: true, why: `${who} may ${action} ${where}: ${saying(giving)}` }
  const not = `${who} may not ${action} ${where}`
  if (there.length > 0)
    return { allowed: false, why: `${not}: ${there.map(saying).join('; ')}, and nothing says ${action}` }
  if (own.length > 0)
    return {
      allowed: false,
      why: `${not}: ${own.map(({ what }) => what).join(', ')} ${own.length > 1 ? 'are' : 'is'} for ${who}, but not for that`
    }
  return { allowed: false, why: `${not}: no rule is for ${who}` }
}

/** What a subject is called, and whether a grant is for it. */
function readSubject(subject: Subject): [string, (grant: Grant) => boolean] {
  if ('repository' in subject)
    return [subject.repository, (grant) => grantsRepository(grant, subject.repository)]
  if ('within' in subject) return [`${subject.within}…`, (grant) => grantsWithin(grant, subject.within)]
  if ('domain' in subject) return [`all of ${subject.domain}`, (grant) => grantsAll(grant, subject.domain)]
  return ['everything', (grant) => grantsAll(grant, undefined)]
}

const saying = ({ what, repositories, can }: Grant & { what: string }): string =>
  `${what} says ${can.join(', ')} on ${repositories.join(', ')}`
