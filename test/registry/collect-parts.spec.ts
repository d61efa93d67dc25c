/** Clearing a tree part by part: more than one change carries out, and what can only go together. */
import assert from 'node:assert/strict'
import type { Digest } from '../../src/oci/digest.ts'
import { togetherOnly } from '../../src/registry/collect-groups.ts'
import type { Superfluous } from '../../src/registry/collect-plan.ts'
import { type Made, manifest, OCI_CONFIG, type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const digest = (letter: string) => `sha256:${letter.repeat(64)}` as Digest

function superfluous(
  letter: string,
  more: { children?: string; subject?: string; speaksOf?: string } = {}
): Superfluous {
  const { children = '', subject, speaksOf } = more
  return {
    repository: 'app',
    digest: digest(letter),
    size: 1,
    named: {
      children: children.split('').map(digest),
      blobs: [],
      subject: subject === undefined ? undefined : digest(subject)
    },
    tags: speaksOf === undefined ? [] : [{ tag: 'sha256-x', subject: digest(speaksOf) }],
    tagHistory: []
  }
}

const byText = (a: string, b: string) => (a < b ? -1 : 1)

const lettersOf = (groups: Superfluous[][]) =>
  groups
    .map((group) => group.map((one) => one.digest.charAt(7)))
    .map((letters) => letters.toSorted(byText).join(''))
    .sort(byText)

describe('what can only go together', () => {
  it('is an index with its children, also those that two share', () => {
    const manifests = [
      superfluous('a', { children: 'bc' }),
      superfluous('b'),
      superfluous('c'),
      superfluous('d', { children: 'ce' }),
      superfluous('e'),
      superfluous('f')
    ]
    assert.deepEqual(lettersOf(togetherOnly(manifests)), ['abcde', 'f'])
    assert.deepEqual(lettersOf(togetherOnly(manifests.toReversed())), ['abcde', 'f'])
  })

  it('is what refers to a subject, by a field or by a tag, also where that is elsewhere', () => {
    const manifests = [
      superfluous('a', { subject: '1' }),
      superfluous('b', { speaksOf: '1' }),
      superfluous('c', { subject: 'd' }),
      superfluous('d'),
      superfluous('e')
    ]
    assert.deepEqual(lettersOf(togetherOnly(manifests)), ['ab', 'cd', 'e'])
  })

  it('may name itself all around', () => {
    const manifests = [superfluous('a', { children: 'b' }), superfluous('b', { children: 'a', subject: 'a' })]
    assert.deepEqual(lettersOf(togetherOnly(manifests)), ['ab'])
  })
})

describe('a collection of more than one change', function () {
  this.timeout(300_000)
  const signal = new AbortController().signal
  let server: RegistryServer
  let client: OciClient

  before(async () => {
    server = await startRegistryServer({ collect: { keepRoots: 0, graceMs: 0 } })
    client = ociClient(server)
  })
  after(() => server.stop())

  /** An image of a config and `count` blobs that no other has. */
  async function image(name: string, tag: string, count: number): Promise<Made> {
    const bodies = Array.from({ length: count }, (_, i) => `${name} ${tag} ${i}`)
    const layers = await Promise.all(bodies.map((body) => client.blob(name, body)))
    const config = await client.blob(name, `config of ${name} ${tag}`, OCI_CONFIG)
    const made = manifest({ config, layers })
    await client.put(name, made, tag)
    return made
  }

  it('takes what the dry run said, leaves the rest, and tells of one root', async () => {
    const kept = await image('app', 'kept', 3)
    for (let i = 0; i < 9; i++) {
      await image('app', `t${i}`, 60)
      await image('other', `t${i}`, 60)
      for (const name of ['app', 'other']) await client.expect(202, 'DELETE', `/v2/${name}/manifests/t${i}`)
    }
    const told: string[] = []
    server.registry.onRoot((_, root) => told.push(root.toString()))
    const would = await server.registry.collect({ dryRun: true, signal })
    assert.deepEqual(told, [])
    const did = await server.registry.collect({ dryRun: false, signal })
    // A directory of a root in between may be one that was there before, and stays for the next collection.
    const { rows, rowBytes, bytes, ...freed } = did.freed
    assert.deepEqual({ ...would, dryRun: false, freed: { ...would.freed, rows, rowBytes, bytes } }, did)
    assert.ok(rows <= would.freed.rows && rows > would.freed.rows * 0.9, `${rows} of ${would.freed.rows}`)
    // each with its config and its manifest
    assert.equal(freed.blobs, 18 * 62)
    assert.equal(did.manifests.length, 18)
    assert.deepEqual(told, [(await server.registry.root('local'))?.toString()])
    const { body } = await client.expect(200, 'GET', '/v2/app/manifests/kept')
    assert.equal(body.toString(), kept.bytes.toString())
    // What is left then are the directories of the roots in between.
    const next = await server.registry.collect({ dryRun: false, signal })
    assert.equal(next.freed.blobs, 0)
    assert.equal((await server.registry.collect({ dryRun: false, signal })).freed.bytes, 0)
  })

  /** Runs `work` for each of `count`, some at a time. */
  async function each(count: number, work: (i: number) => Promise<void>): Promise<void> {
    let next = 0
    const one = async () => {
      for (let i = next++; i < count; i = next++) await work(i)
    }
    await Promise.all(Array.from({ length: 8 }, one))
  }

  it('takes nothing that is pushed again between its changes', async () => {
    const [images, blobs] = [120, 8]
    await each(images, async (i) => {
      await image('busy', `t${i}`, blobs)
      await client.expect(202, 'DELETE', `/v2/busy/manifests/t${i}`)
    })
    let changes = 0
    const begun = Promise.withResolvers<void>()
    const collecting = server.registry.collect({
      dryRun: false,
      signal,
      progress({ what, done }) {
        if (!what.startsWith('looking through') || done === 0) return
        changes++
        begun.resolve()
      }
    })
    await begun.promise
    // Some of what comes now is gone, and some is still to go.
    const before = changes
    let between = 0
    await each(images, async (i) => {
      await image('busy', `t${i}`, blobs)
      if (changes > before) between++
    })
    await collecting
    assert.ok(changes > 2 && between > 0, `${changes} changes, ${between} pushes after the first`)
    // Another takes what only the uploads still held.
    await server.registry.collect({ dryRun: false, signal })
    await each(images, async (i) => {
      const { body } = await client.expect(200, 'GET', `/v2/busy/manifests/t${i}`)
      const { layers, config } = JSON.parse(body.toString()) as {
        layers: { digest: string }[]
        config: { digest: string }
      }
      for (const blob of [config, ...layers]) await client.expect(200, 'GET', `/v2/busy/blobs/${blob.digest}`)
    })
  })
})
