import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { ACTIONS, type Action, type Grant } from './types.ts'

/** A rule: who may do what where. Rules only ever give; what none gives is refused. */
export interface Rule extends Grant {
  /** Where it stands, for explanations: `rule 2`, counted from 1. */
  readonly what: string
  /** Names of users (`alice`, `team-*`), `anonymous`, or `issuer:name`; globs in each part. */
  readonly who: readonly string[]
  /** Claims that an issuer's token must have besides; globs. */
  readonly claims: Readonly<Record<string, string>>
}

/** Somebody else who vouches for identities: a CI system, an OpenID provider. */
export interface IssuerSetting {
  /** What rules call it. */
  readonly name: string
  /** The `iss` of its tokens, an https URL. */
  readonly issuer: string
  /** What `aud` of its tokens must hold one of. */
  readonly audience: readonly string[]
  /** Where its keys are; found by OpenID Connect discovery unless given. */
  readonly jwks?: string | undefined
  /** The claim that says who it is. */
  readonly user: string
}

/** All that the rules file says. */
export interface AccessRules {
  readonly rules: readonly Rule[]
  readonly issuers: readonly IssuerSetting[]
}

/** The largest rules file, in bytes. */
export const MAX_RULES_FILE = 1024 * 1024

const text = z.string().min(1).max(255)
const oneOrMore = <T extends z.ZodType>(item: T) =>
  z.union([item, z.array(item).min(1).max(100)]).transform((value) => [value].flat() as z.output<T>[])
/** Plain http is for a provider on this machine alone. */
const httpsUrl = z
  .string()
  .refine(
    (value) => /^https:\/\/|^http:\/\/(?:127\.|localhost[:/]|\[::1\])/.test(value) && URL.canParse(value),
    'must be an https URL'
  )

const RULE = z.strictObject({
  who: oneOrMore(text),
  claims: z.record(text, z.union([text, z.number(), z.boolean()]).transform(String)).optional(),
  repositories: oneOrMore(text),
  can: oneOrMore(z.enum(ACTIONS))
})

const ISSUER = z.strictObject({
  issuer: httpsUrl,
  audience: oneOrMore(text),
  jwks: httpsUrl.optional(),
  user: text.default('sub')
})

const FILE = z.strictObject({
  rules: z.array(RULE).max(1000).default([]),
  issuers: z
    .record(
      z.string().regex(/^(?!token$)[a-z0-9][a-z0-9-]{0,31}$/, 'must be letters, digits and -, and not token'),
      ISSUER
    )
    .default({})
})

/**
 * Reads a rules file. Throws an Error that says what is wrong, and where.
 *
 * ```yaml
 * rules:
 *   - {who: alice, repositories: "**", can: [push, delete]}
 *   - {who: anonymous, repositories: ["example.com/**", "!example.com/secret/**"], can: pull}
 *   - {who: "github:acme/app", claims: {ref: refs/heads/main}, repositories: example.com/app, can: push}
 * issuers:
 *   github: {issuer: "https://token.actions.githubusercontent.com", audience: registry.example.com, user: repository}
 * ```
 */
export function parseRules(yaml: string): AccessRules {
  const read = FILE.safeParse(parseYaml(yaml, { maxAliasCount: 0 }) ?? {})
  if (!read.success) {
    const [issue] = read.error.issues
    throw new Error(`${issue?.path.map(String).join('.') || 'the file'}: ${issue?.message}`)
  }
  const issuers = Object.entries(read.data.issuers).map(([name, issuer]) => Object.assign(issuer, { name }))
  for (const [i, { name, issuer }] of issuers.entries()) {
    const other = issuers.slice(0, i).find((each) => each.issuer === issuer)
    // a token says no more than that URL
    if (other !== undefined)
      throw new Error(`${other.name} and ${name} have the same issuer: give one of them both audiences`)
  }
  const rules = read.data.rules.map((rule, i) =>
    Object.assign(rule, { claims: rule.claims ?? {}, what: `rule ${i + 1}` })
  )
  for (const { who, claims, what } of rules) {
    for (const each of who) checkWho(each, what, issuers)
    if (Object.keys(claims).length > 0 && !who.every((each) => each.includes(':')))
      throw new Error(
        `${what} asks for claims, which only the tokens of issuers have: write who as issuer:name`
      )
  }
  return { rules, issuers }
}

function checkWho(who: string, what: string, issuers: readonly IssuerSetting[]): void {
  const issuer = who.slice(0, Math.max(0, who.indexOf(':')))
  if (!who.includes(':') || issuers.some(({ name }) => name === issuer)) return
  throw new Error(
    issuer === 'token'
      ? `${what} is for '${who}', but tokens have the rights that 'seaway token create' gave them`
      : `${what} is for '${who}', but there is no issuer '${issuer}'`
  )
}

/** What holds without a rules file: users may do everything, anybody else may pull if that is set. */
export function standardRules(options: { users: boolean; anonymousPull: boolean }): readonly Rule[] {
  const everything = ['**', 'ipfs/**', 'ipns/**']
  const rule = (what: string, who: string, can: readonly Action[]): Rule => ({
    what,
    who: [who],
    claims: {},
    repositories: everything,
    can
  })
  return [
    ...(options.users ? [rule('the standard rule (there is no SEAWAY_AUTH_RULES)', '*', ['admin'])] : []),
    ...(options.anonymousPull ? [rule('SEAWAY_AUTH_ANONYMOUS_PULL=yes', 'anonymous', ['pull'])] : [])
  ]
}
