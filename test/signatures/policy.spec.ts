import assert from 'node:assert/strict'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createLog } from '../../src/log.ts'
import { rulesFor, watchPolicy } from '../../src/signatures/policy.ts'
import { signers, writePolicy } from '../support/signed-images.ts'
import { tempFolder } from '../support/temp.ts'

describe('a signature policy', () => {
  const log = createLog('silent')
  let temp: ReturnType<typeof tempFolder>
  beforeEach(() => {
    temp = tempFolder()
  })
  afterEach(() => temp.remove())

  const watch = (yaml: string) => watchPolicy(writePolicy(temp.path, yaml), log, 0)
  const read = async (yaml: string) => (await watch(yaml)).current()

  it('is read with its keys and certificates, from where it is', async () => {
    const { rules } = await read(`rules:
      - {repositories: a, cosign: [ours.pub, ${join(temp.path, 'theirs.pub')}]}
      - repositories: ["b/**", "!b/c"]
        at: [pull, push]
        notation: {trust: ca.crt, identities: "x509.subject: C=US, O=Acme"}`)
    assert.deepEqual(
      rules.map(({ what, at, keys, trust }) => [what, at, keys.length, trust?.certificates[0]?.subject]),
      [
        ['rule 1', ['pull'], 2, undefined],
        ['rule 2', ['pull', 'push'], 0, 'C=US\nO=Acme\nCN=Acme CA']
      ]
    )
    assert.deepEqual(
      [...(rules[1]?.trust?.identities[0] ?? [])],
      [
        ['C', 'US'],
        ['O', 'Acme']
      ]
    )
  })

  it('has rules for repositories; what is asked for by its root is everything too', async () => {
    const policy = await read(`rules:
      - {repositories: ["**", "!drafts/**"], cosign: ours.pub}
      - {repositories: "example.com/*", at: push, cosign: ours.pub}`)
    const named = (moment: 'pull' | 'push', ...names: string[]) =>
      rulesFor(policy, names, moment).map(({ what }) => what)
    assert.deepEqual(named('pull', 'app'), ['rule 1'])
    assert.deepEqual(named('pull', 'ipfs/bafyroot/app'), ['rule 1'])
    assert.deepEqual(named('pull', 'drafts/app'), [])
    // where a name leads to two places, the stricter one counts
    assert.deepEqual(named('pull', 'drafts/app', 'docker.io/drafts/app'), ['rule 1'])
    assert.deepEqual(named('push', 'example.com/app'), ['rule 2'])
    assert.deepEqual(named('push', 'example.com/a/b'), [])
  })

  it('trusts all certificates of a folder', async () => {
    mkdirSync(join(temp.path, 'store'))
    writeFileSync(join(temp.path, 'store/all.pem'), signers['ca.crt'] + signers['leaf.crt'])
    const watched = await watch('rules: [{repositories: a, notation: {trust: store}}]')
    const count = async () => (await watched.current()).rules[0]?.trust?.certificates.length
    assert.equal(await count(), 2)
    writeFileSync(join(temp.path, 'store/one.crt'), signers['ca.crt'])
    assert.equal(await count(), 3)
  })

  it('is read again when a key changes; what it said before holds while one is wrong', async () => {
    const watched = await watch('rules: [{repositories: a, cosign: ours.pub}]')
    const key = async () =>
      (await watched.current()).rules[0]?.keys[0]?.export({ type: 'spki', format: 'pem' })
    assert.equal(await key(), signers['ours.pub'])
    rmSync(join(temp.path, 'ours.pub'))
    assert.equal(await key(), signers['ours.pub'])
    writeFileSync(join(temp.path, 'new.pub'), signers['theirs.pub'])
    renameSync(join(temp.path, 'new.pub'), join(temp.path, 'ours.pub'))
    assert.equal(await key(), signers['theirs.pub'])
  })

  const wrong: [string, RegExp][] = [
    ['rules: []', /signatures\.yaml: rules: /],
    ['rules: [{repositories: a}]', /signatures\.yaml: rules\.0: a rule needs cosign/],
    ['rules: [{repositories: "!a", cosign: ours.pub}]', /exceptions alone/],
    ['rules: [{repositories: a, cosign: ours.pub, at: night}]', /rules\.0\.at/],
    ['rules: [{repositories: a, keys: ours.pub}]', /rules\.0/],
    ['rules: [{repositories: a, cosign: gone.pub}]', /gone\.pub: ENOENT/],
    ['rules: [{repositories: a, cosign: private.key}]', /private\.key: it is a private key/],
    ['rules: [{repositories: a, cosign: signatures.yaml}]', /signatures\.yaml: it is no public key/],
    ['rules: [{repositories: a, notation: {trust: ours.pub}}]', /ours\.pub: it is no certificate/],
    ['rules: [{repositories: a, notation: {trust: gone}}]', /gone: ENOENT/],
    ['rules: [{repositories: a, notation: {trust: empty}}]', /empty: it holds no certificates/],
    ['rules: [{repositories: a, notation: {trust: ca.crt, identities: Acme}}]', /'Acme' is not like/]
  ]
  for (const [yaml, why] of wrong)
    it(`refuses ${yaml}`, async () => {
      mkdirSync(join(temp.path, 'empty'))
      writeFileSync(join(temp.path, 'private.key'), '-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n')
      await assert.rejects(watch(yaml), why)
    })
})
