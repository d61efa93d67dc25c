/** Two publishers of one domain: whoever comes second merges, and nothing that either pushed is lost. */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type Client, skopeo } from './support/clients.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { repository } from './support/wire.ts'

describe('two publishers of one domain', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('sync')
  let bind: Bind
  let client: Client
  let a: SeawayGateway
  let b: SeawayGateway
  let reader: SeawayGateway
  const images: Image[] = []
  let dns: string

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen', 'skopeo')) this.skip()
    bind = keep(
      await startBind({ dir: folder('named'), zones: { 'ships.example': [] }, updateKey: 'seaway' })
    )
    dns = `rfc2136?server=${bind.server}&key=${bind.key?.file}&ttl=1`
    client = await skopeo({ dir: folder('skopeo') })
    for (let i = 0; i < 4; i++)
      images.push(
        await makeImage({
          dir: folder(`image-${i}`),
          name: `app:${i}`,
          layers: [{ size: 100_000, seed: `layer ${i}` }]
        })
      )
    // read its own updates at once: the primary is the resolver
    a = await gateway('a', { dns: bind.server })
    b = await gateway('b', { dns: bind.server })
    reader = await gateway('reader', { dns: bind.server })
  })

  const push = (at: SeawayGateway, image: number, name: string): Promise<void> =>
    client.push(images[image] as Image, `${at.host}/ships.example/${name}`)
  const publish = (at: SeawayGateway, ...more: string[]) =>
    at.seaway(['publish', 'ships.example', '--dns', dns, '--wait', '30s', ...more], { allowFailure: true })
  const sync = (at: SeawayGateway, ...more: string[]) =>
    at.seaway(['sync', 'ships.example', ...more], { allowFailure: true })
  const digestAt = async (at: SeawayGateway, name: string, tag: string): Promise<string | undefined> => {
    const answer = await repository(at.url, `ships.example/${name}`).getManifest(tag)
    await answer.arrayBuffer()
    return answer.status === 200 ? (answer.headers.get('docker-content-digest') ?? '') : undefined
  }
  const pulls = async (image: number, name: string, at = reader): Promise<void> =>
    assert.deepEqual((await client.pull(`${at.host}/ships.example/${name}`)).diffIds, images[image]?.diffIds)

  it('starts from one root', async () => {
    await push(a, 0, 'app:common')
    await push(a, 0, 'app:moving')
    await push(a, 0, 'app:going')
    const first = await publish(a)
    assert.equal(first.status, 0, first.stderr)
    await push(b, 1, 'app:of-b')
    await pulls(0, 'app:common', b)
  })

  it('the second to publish is refused, syncs, publishes, and nothing is lost', async () => {
    await push(a, 2, 'app:of-a')
    await push(a, 2, 'other/thing:1')
    assert.equal((await publish(a)).status, 0)
    const refused = await publish(b)
    assert.equal(refused.status, 1)
    assert.match(
      refused.stderr,
      /^seaway: ships\.example publishes bafy\w+, which the tree here .* run 'seaway sync ships\.example' first/
    )
    const before = await b.root('ships.example')
    const dry = JSON.parse((await sync(b, '--dry-run', '--json')).stdout)
    assert.equal(dry.outcome, 'dry')
    assert.deepEqual(
      dry.taken.map((each: { repository: string; tag: string }) => `${each.repository}:${each.tag}`).sort(),
      ['app:of-a', 'other/thing:1']
    )
    assert.deepEqual(
      dry.kept.map((each: { tag: string }) => each.tag),
      ['of-b']
    )
    assert.equal(await b.root('ships.example'), before)
    const done = await sync(b)
    assert.equal(done.status, 0, done.stderr)
    assert.match(done.stdout, /app:of-a +taken/)
    assert.match(done.stdout, /app:of-b +kept/)
    const second = await publish(b)
    assert.equal(second.status, 0, second.stderr)
    await waitFor(
      'the merged root to be read',
      async () => (await digestAt(reader, 'app', 'of-b')) !== undefined
    )
    for (const [image, name] of [
      [0, 'app:common'],
      [1, 'app:of-b'],
      [2, 'app:of-a'],
      [2, 'other/thing:1']
    ] as const)
      await pulls(image, name)
  })

  it('has nothing to do twice, and takes all when only the others moved on', async () => {
    assert.equal(JSON.parse((await sync(b, '--json')).stdout).outcome, 'current')
    const taken = JSON.parse((await sync(a, '--json')).stdout)
    assert.equal(taken.outcome, 'synced')
    // nothing was pushed here in between, so the roots are one and the same again
    assert.equal(taken.root, taken.published)
    assert.equal(await a.root('ships.example'), await b.root('ships.example'))
    assert.equal((await publish(a)).status, 0)
  })

  it('tags that both changed are listed and refused, until a flag decides', async () => {
    await push(a, 1, 'app:moving')
    await push(b, 2, 'app:moving')
    const [ours, theirs] = [await digestAt(b, 'app', 'moving'), await digestAt(a, 'app', 'moving')]
    assert.notEqual(ours, theirs)
    assert.equal((await publish(a)).status, 0)
    const open = await sync(b)
    assert.equal(open.status, 1)
    assert.match(
      open.stderr,
      /app:moving \(here sha256:\w+, published sha256:\w+\); say whose count with --ours or --theirs/
    )
    assert.equal(await digestAt(b, 'app', 'moving'), ours)
    const usage = await sync(b, '--ours', '--theirs')
    assert.equal(usage.status, 2)
    const dry = JSON.parse((await sync(b, '--dry-run', '--json', '--theirs')).stdout)
    assert.deepEqual([dry.conflicts[0].ours, dry.conflicts[0].theirs], [ours, theirs])
    assert.equal((await sync(b, '--ours')).status, 0)
    assert.equal(await digestAt(b, 'app', 'moving'), ours)
    assert.equal((await publish(b)).status, 0)
    await push(a, 3, 'app:moving')
    assert.equal((await sync(a, '--theirs')).status, 0)
    assert.equal(await digestAt(a, 'app', 'moving'), ours)
    await pulls(2, 'app:moving', a)
  })

  it('a tag that one side deleted goes on the other, and says so', async () => {
    assert.equal((await publish(a)).status, 0)
    assert.equal((await sync(b)).status, 0)
    const gone = await fetch(`${a.url}/v2/ships.example/app/manifests/going`, { method: 'DELETE' })
    assert.equal(gone.status, 202)
    await push(b, 3, 'app:later')
    assert.equal((await publish(a)).status, 0)
    const merged = await sync(b)
    assert.match(merged.stdout, /app:going +removed/)
    assert.match(merged.stdout, /app:later +kept/)
    assert.equal((await digestAt(b, 'app', 'common')) !== undefined, true)
    const tags = (await (await fetch(`${b.url}/v2/ships.example/app/tags/list`)).json()) as { tags: string[] }
    assert.deepEqual(tags.tags.includes('going'), false)
    assert.ok(
      ['common', 'moving', 'of-a', 'of-b', 'later'].every((tag) => tags.tags.includes(tag)),
      String(tags.tags)
    )
  })

  it('a gateway that has nothing begins with what is published', async () => {
    const fresh = await gateway('fresh', { dns: bind.server })
    const done = JSON.parse((await sync(fresh, '--json')).stdout)
    assert.equal(done.root, done.published)
    await pulls(2, 'other/thing:1', fresh)
  })
})
