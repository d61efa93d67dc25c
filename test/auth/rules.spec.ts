import assert from 'node:assert/strict'
import { decide, type Principal, parseRules, standardRules } from '../../src/auth/index.ts'
import type { Action } from '../../src/auth/types.ts'

const FILE = `
rules:
  - {who: alice, repositories: "**", can: [push, delete]}
  - {who: [bob, team-*], repositories: ["example.com/**", "!example.com/secret/**"], can: pull}
  - {who: anonymous, repositories: public/*, can: pull}
  - {who: "ci:acme/app", claims: {ref: refs/heads/*}, repositories: example.com/app, can: push}
  - {who: carol, repositories: [example.com/**, ipfs/**], can: [publish, pull]}
issuers:
  ci: {issuer: "https://ci.example", audience: registry.example, user: repository}
`
const user = (name: string): Principal => ({ kind: 'user', name })
const ci = (name: string, claims: Record<string, string>, issuer = 'ci'): Principal => ({
  kind: 'external',
  issuer,
  name,
  claims
})

describe('access rules', () => {
  const { rules, issuers } = parseRules(FILE)
  const may = (who: Principal, action: Action, repository: string) =>
    decide(rules, who, action, { repository }).allowed

  it('are read with what is left out put in', () => {
    assert.deepEqual(issuers, [
      { name: 'ci', issuer: 'https://ci.example', audience: ['registry.example'], user: 'repository' }
    ])
    assert.deepEqual(rules[0]?.repositories, ['**'])
    assert.deepEqual(parseRules(''), { rules: [], issuers: [] })
  })

  const cases: [Principal, Action, string, boolean][] = [
    [user('alice'), 'push', 'example.com/app', true],
    [user('alice'), 'pull', 'example.com/app', true],
    [user('alice'), 'delete', 'app', true],
    [user('alice'), 'publish', 'app', false],
    [user('alice'), 'admin', 'app', false],
    [user('alice'), 'pull', 'ipfs/bafyroot/app', false],
    [user('carol'), 'pull', 'ipfs/bafyroot/app', true],
    [user('carol'), 'pull', 'ipns/k51name/app', false],
    [user('bob'), 'pull', 'example.com/app', true],
    [user('bob'), 'pull', 'example.com/a/b/c', true],
    [user('bob'), 'pull', 'example.com/secret/app', false],
    [user('bob'), 'push', 'example.com/app', false],
    [user('bob'), 'pull', 'example.com.evil/app', false],
    [user('team-one'), 'pull', 'example.com/app', true],
    [user('team'), 'pull', 'example.com/app', false],
    [user('dave'), 'pull', 'public/app', true],
    [
      { kind: 'token', id: '1', name: 'ci', grant: { repositories: ['a'], can: ['push'] } },
      'pull',
      'public/app',
      true
    ],
    [
      { kind: 'token', id: '1', name: 'ci', grant: { repositories: ['a'], can: ['push'] } },
      'pull',
      'a',
      true
    ],
    [
      { kind: 'token', id: '1', name: 'ci', grant: { repositories: ['a'], can: ['push'] } },
      'push',
      'b',
      false
    ],
    [user('ci:acme/app'), 'push', 'example.com/app', false],
    [{ kind: 'anonymous' }, 'pull', 'public/app', true],
    [{ kind: 'anonymous' }, 'pull', 'public/a/b', false],
    [{ kind: 'anonymous' }, 'push', 'public/app', false],
    [{ kind: 'anonymous' }, 'pull', 'example.com/app', false],
    [ci('acme/app', { ref: 'refs/heads/main' }), 'push', 'example.com/app', true],
    [ci('acme/app', { ref: 'refs/tags/1' }), 'push', 'example.com/app', false],
    [ci('acme/app', {}), 'push', 'example.com/app', false],
    [ci('acme/app', JSON.parse('{"__proto__": {"ref": "refs/heads/x"}}')), 'push', 'example.com/app', false],
    [ci('acme/other', { ref: 'refs/heads/main' }), 'push', 'example.com/app', false],
    [ci('acme/app', { ref: 'refs/heads/main' }), 'push', 'example.com/other', false],
    [ci('acme/app', { ref: 'refs/heads/main' }, 'other'), 'push', 'example.com/app', false],
    [ci('alice', {}), 'push', 'example.com/app', false]
  ]
  for (const [who, action, repository, allowed] of cases) {
    it(`${JSON.stringify(who)} ${allowed ? 'may' : 'may not'} ${action} ${repository}`, () =>
      assert.equal(may(who, action, repository), allowed))
  }

  it('give all of a domain, and everything, only without exception', () => {
    const all = (name: string, subject: { domain: string } | { everything: true }, action: Action) =>
      decide(rules, user(name), action, subject).allowed
    assert.equal(all('carol', { domain: 'example.com' }, 'publish'), true)
    assert.equal(all('carol', { domain: 'other.com' }, 'publish'), false)
    assert.equal(all('bob', { domain: 'example.com' }, 'pull'), false)
    assert.equal(all('alice', { everything: true }, 'pull'), true)
    assert.equal(all('carol', { everything: true }, 'pull'), false)
  })

  it('may be for something in a place, or for nothing there', () => {
    const within = (glob: string, prefix: string) =>
      decide(
        [{ what: 'it', who: ['bob'], claims: {}, repositories: [glob], can: ['pull'] }],
        user('bob'),
        'pull',
        { within: prefix }
      ).allowed
    for (const glob of [
      '**',
      'example.com/**',
      'example.com/a',
      '*/a',
      'ex*.com/**',
      'ex**',
      'example.???/a/*/c'
    ])
      assert.equal(within(glob, 'example.com/'), true, glob)
    for (const glob of [
      '*',
      'app',
      'example.com',
      'a/b',
      'example.comm/**',
      'f**',
      '!example.com/**',
      'ipfs/**'
    ])
      assert.equal(within(glob, 'example.com/'), false, glob)
    assert.equal(within('app', ''), true)
    assert.equal(within('**', 'ipfs/bafyroot/'), false)
    assert.equal(within('ipfs/*/app', 'ipfs/bafyroot/'), true)
    assert.equal(within('ipfs/bafyother/**', 'ipfs/bafyroot/'), false)
  })

  it('say why', () => {
    const why = (name: string, action: Action, repository: string) =>
      decide(rules, user(name), action, { repository }).why
    assert.equal(why('alice', 'push', 'app'), 'alice may push app: rule 1 says push, delete on **')
    assert.match(
      why('bob', 'push', 'example.com/app'),
      /may not push .*rule 2 says pull on .*nothing says push/
    )
    assert.match(why('bob', 'pull', 'app'), /rule 2, rule 3 are for bob, but not for that/)
    assert.match(decide([], user('dave'), 'pull', { repository: 'app' }).why, /no rule is for dave/)
  })

  const bad: [string, RegExp][] = [
    ['rules: [', /flow/i],
    ['rule: []', /Unrecognized key/],
    ['rules: [{who: a, repositories: b}]', /rules\.0\.can/],
    ['rules: [{who: a, repositories: b, can: fly}]', /rules\.0\.can/],
    ['rules: [{who: "x:y", repositories: b, can: pull}]', /no issuer 'x'/],
    ['rules: [{who: "token:y", repositories: b, can: pull}]', /seaway token create/],
    ['rules: [{who: a, claims: {ref: x}, repositories: b, can: pull}]', /asks for claims/],
    ['issuers: {ci: {issuer: "http://ci.example", audience: x}}', /https URL/],
    ['issuers: {ci: {issuer: "https://ci.example"}}', /issuers\.ci\.audience/],
    ['issuers: {"a:b": {issuer: "https://ci.example", audience: x}}', /issuers/],
    [
      'issuers: {a: {issuer: "https://ci.example", audience: x}, b: {issuer: "https://ci.example", audience: y}}',
      /a and b have the same issuer/
    ],
    ['issuers: {token: {issuer: "https://ci.example", audience: x}}', /issuers/],
    ['a: &a [1]\nrules: *a', /alias/i],
    ['just text', /the file/]
  ]
  for (const [text, message] of bad)
    it(`refuses ${text.replaceAll('\n', '; ')}`, () => assert.throws(() => parseRules(text), message))

  it('without a file, let users do everything, and others what is set', () => {
    const standing = standardRules({ users: true, anonymousPull: false })
    assert.equal(decide(standing, user('x'), 'admin', { repository: 'ipfs/bafy/app' }).allowed, true)
    assert.equal(decide(standing, { kind: 'anonymous' }, 'pull', { repository: 'app' }).allowed, false)
    const open = standardRules({ users: false, anonymousPull: true })
    assert.equal(decide(open, { kind: 'anonymous' }, 'pull', { repository: 'a.b/app' }).allowed, true)
    assert.equal(decide(open, { kind: 'anonymous' }, 'push', { repository: 'app' }).allowed, false)
    assert.equal(decide(open, user('x'), 'pull', { repository: 'app' }).allowed, true)
    assert.equal(decide(open, ci('x', {}), 'pull', { repository: 'app' }).allowed, true)
  })
})
