/**
 * Bytes that rot: flipped at random all over a store whose clients go on pulling. No client may ever get one,
 * `seaway verify` finds every one, and all comes back from a second gateway.
 *
 * SEAWAY_FLIPS_ROUNDS repeats it with other bytes; the seed of a round is printed.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { decode } from 'multiformats/hashes/digest'
import { useBed } from './support/bed.ts'
import { skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { mayMount, mountLoop } from './support/tmpfs.ts'
import { digestOf, repository } from './support/wire.ts'

const MiB = 1024 * 1024
const FLIPS = 100
/** How many of them lie in files, the others in the index: small blobs, directories, link files, nodes. */
const IN_FILES = 60

/** What `seaway verify --json` prints. */
interface Report {
  damaged: number
  bad: number
  blobs: number
  found: {
    id: string
    kind: string
    damaged: number
    state: string
    foundBy: string
    name: string
    outcome: string
  }[]
  rootless: string[]
}

const bytesOf = (size: number, seed: string): Buffer => Buffer.concat([...randomBytes(size, seed)])

/** Numbers in [0, 1) that follow from a seed. */
function random(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest()
  return () => {
    state = createHash('sha256').update(state).digest()
    return state.readUInt32BE(0) / 2 ** 32
  }
}

/** So many of `all`, each once. */
function choose<T>(all: readonly T[], count: number, next: () => number): T[] {
  const left = [...all]
  return Array.from({ length: count }, () => left.splice(Math.floor(next() * left.length), 1)[0] as T)
}

async function flipIn(path: string, at: number, bit: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0] = (byte[0] as number) ^ (1 << bit)
    await file.write(byte, 0, 1, at)
  } finally {
    await file.close()
  }
}

describe('flipped bytes', function () {
  this.timeout(300_000)
  const { folder, keep, gateway } = useBed('flips')
  const rounds = Number(process.env['SEAWAY_FLIPS_ROUNDS'] ?? 1)
  let image: Image
  /** The digests of all blobs by repository. */
  let pushed: Map<string, string[]>
  let source: SeawayGateway
  let one: SeawayGateway
  let env: Record<string, string>

  before(async function () {
    if (!available('skopeo')) this.skip()
    image = await makeImage({
      dir: folder('image'),
      name: 'real:1',
      layers: [
        { size: 9 * MiB, seed: 'nine' },
        { size: 200_000, seed: 'some' },
        { size: 5000, seed: 'few' }
      ]
    })
    source = await gateway('source')
    env = { SEAWAY_PEERS: source.peers.join(','), SEAWAY_LOG_LEVEL: 'warn' }
    one = await gateway('one', { env })
    for (const each of [source, one]) pushed = await fill(each)
  })

  /** The same images in the same order, so that the trees of both are the same down to the last link file. */
  async function fill(to: SeawayGateway): Promise<Map<string, string[]>> {
    const found = new Map<string, string[]>()
    for (let i = 0; i < 24; i++) {
      const name = `team/app-${i % 6}`
      const size = i % 3 === 0 ? 6 * MiB + i * 1000 : i % 3 === 1 ? 20_000 + i : 300_000 + i
      const { manifest, layer } = await repository(to.url, name).putImage(
        `v${i}`,
        bytesOf(size, `layer ${i}`)
      )
      found.set(name, [...(found.get(name) ?? []), manifest, layer])
    }
    await (await skopeo({ dir: folder('pusher') })).push(image, `${to.host}/real:1`)
    return found
  }

  /** Every leaf of every file, and every small block: 100 of them get one flipped bit each. */
  async function flipSome(data: string, next: () => number): Promise<{ file: string; at: number }[]> {
    const pieces: { path: string; start: number; length: number }[] = []
    for (const sub of await readdir(join(data, 'blobs'))) {
      for (const name of await readdir(join(data, 'blobs', sub))) {
        const path = join(data, 'blobs', sub, name)
        const { size } = await stat(path)
        for (let start = 0; start < size; start += MiB)
          pieces.push({ path, start, length: Math.min(MiB, size - start) })
      }
    }
    const chosen: { file: string; at: number }[] = []
    for (const { path, start, length } of choose(pieces, IN_FILES, next)) {
      const at = start + Math.floor(next() * length)
      await flipIn(path, at, Math.floor(next() * 8))
      chosen.push({ file: path, at })
    }
    const index = new ClassicLevel<Uint8Array, Uint8Array>(join(data, 'index'), {
      keyEncoding: 'view',
      valueEncoding: 'view'
    })
    await index.open()
    const keys: Uint8Array[] = []
    for await (const key of index.keys({ gte: Buffer.from('k'), lt: Buffer.from('l') })) {
      // Layouts follow a burst of pushes when there is time: what only one of both wrote in between can't come back.
      const cid = CID.createV1(raw.code, decode(key.subarray(1)))
      const { status } = await fetch(`${source.url}/ipfs/${cid}?format=raw`, { method: 'HEAD' })
      if (status === 200) keys.push(key)
    }
    for (const key of choose(keys, FLIPS - IN_FILES, next)) {
      const value = Buffer.from((await index.get(key)) as Uint8Array)
      const at = Math.floor(next() * value.length)
      value[at] = (value[at] as number) ^ (1 << Math.floor(next() * 8))
      await index.put(key, value)
      chosen.push({ file: Buffer.from(key).toString('hex'), at })
    }
    await index.close()
    return chosen
  }

  /** Clients that pull until they are told to stop: what they got whole must be right. */
  function clients(to: SeawayGateway) {
    let going = true
    const seen = { right: 0, refused: 0, broken: 0, pulls: 0 }
    const wrong: string[] = []

    async function readBlobs(offset: number): Promise<void> {
      const wanted = [...pushed].flatMap(([name, digests]) => digests.map((digest) => ({ name, digest })))
      for (let i = offset; going; i = (i + 7) % wanted.length) {
        const { name, digest } = wanted[i] as (typeof wanted)[number]
        try {
          const answer = await repository(to.url, name).getBlob(digest)
          const bytes = Buffer.from(await answer.arrayBuffer())
          if (answer.status !== 200) seen.refused++
          else if ((await digestOf(bytes)) === digest) seen.right++
          else wrong.push(digest)
        } catch {
          seen.broken++ // an answer that breaks off is one that no client takes
        }
      }
    }

    async function readManifests(): Promise<void> {
      for (let i = 0; going; i = (i + 5) % 24) {
        const answer = await repository(to.url, `team/app-${i % 6}`)
          .getManifest(`v${i}`)
          .catch(() => undefined) // as above
        if (answer?.status !== 200) {
          seen.refused++
          continue
        }
        const digest = await digestOf(Buffer.from(await answer.arrayBuffer()))
        if (pushed.get(`team/app-${i % 6}`)?.includes(digest)) seen.right++
        else wrong.push(digest)
      }
    }

    async function pullImage(): Promise<void> {
      const client = await skopeo({ dir: folder('puller') })
      while (going) {
        const found = await client.pull(`${to.host}/real:1`).catch(() => undefined) // damaged just then
        if (found === undefined) continue
        seen.pulls++
        if (found.diffIds.join() !== image.diffIds.join()) wrong.push('skopeo')
      }
    }

    const all = Promise.all([readBlobs(0), readBlobs(11), readManifests(), pullImage()])
    return {
      wrong,
      seen,
      async stop() {
        going = false
        await all
      }
    }
  }

  async function verify(): Promise<{ report: Report; status: number; stderr: string }> {
    const { stdout, stderr, status } = await one.seaway(['verify', '--json', '--rate', 'none', '--restart'], {
      allowFailure: true,
      timeout: 240_000
    })
    return { report: JSON.parse(stdout) as Report, status, stderr }
  }

  for (let round = 1; round <= rounds; round++) {
    const seed = process.env['SEAWAY_FLIPS_SEED'] ?? `flips ${round} ${Date.now()}`
    it(`100 of them (seed '${seed}'): all are found and repaired, and no client ever gets one`, async () => {
      await one.stop()
      const flipped = await flipSome(one.data, random(seed))
      assert.equal(new Set(flipped.map(({ file, at }) => `${file} ${at}`)).size, FLIPS)
      one = await gateway('one', { env })
      const pulling = clients(one)
      const { report, status, stderr } = await verify()
      // They pull on for a while, now that all is well again.
      const before = pulling.seen.pulls
      while (pulling.seen.pulls < before + 2) await new Promise((resolve) => setTimeout(resolve, 50))
      await pulling.stop()

      assert.deepEqual(pulling.wrong, [])
      assert.equal(
        report.damaged,
        FLIPS,
        JSON.stringify(report.found.map(({ id, damaged }) => [id, damaged]))
      )
      assert.deepEqual([report.bad, report.rootless, status, stderr], [0, [], 0, ''])
      assert.ok(
        pulling.seen.right > 0 && pulling.seen.refused + pulling.seen.broken > 0,
        JSON.stringify(pulling.seen)
      )
      const kept = await readdir(join(one.data, 'quarantine'))
      for (const { name } of report.found) assert.ok(kept.includes(name), name)

      const again = await verify()
      assert.deepEqual([again.report.damaged, again.status], [0, 0])
      for (let i = 0; i < 24; i++) await repository(one.url, `team/app-${i % 6}`).readImage(`v${i}`)
    })
  }

  it('a file that the disk cannot read (EIO) is an error for its reader, and is repaired', async function () {
    if (!mayMount()) this.skip()
    const disk = keep(await mountLoop(folder('disk'), '160M'))
    const layer = bytesOf(12 * MiB, 'on a bad disk')
    await repository(source.url, 'bad').putImage('disk', layer)
    let broken = await gateway('broken', { env, data: join(disk.path, 'data') })
    const { layer: digest } = await repository(broken.url, 'bad').putImage('disk', layer)
    await broken.stop()
    await disk.lose(join(broken.data, 'blobs', digest.slice(7, 9), digest.slice(7)))
    broken = await gateway('broken', { env, data: join(disk.path, 'data') })
    const first = await repository(broken.url, 'bad')
      .blobDigest(digest)
      .catch((error: Error) => error.message)
    assert.notEqual(first, digest)
    const { stdout, status } = await broken.seaway(['verify', '--json', '--rate', 'none'])
    const report = JSON.parse(stdout) as Report & { found: { what: string }[] }
    assert.deepEqual([status, report.found.length, report.bad], [0, 1, 0], stdout)
    assert.match(report.found[0]?.what ?? '', /cannot be read: EIO/)
    assert.equal(await repository(broken.url, 'bad').blobDigest(digest), digest)
    await broken.stop()
  })

  it('without a peer that has it, damage stays, is named, and makes the exit status 1', async () => {
    await one.stop()
    await source.stop()
    const file = await anyFile(one.data)
    await flipIn(file, 1000, 3)
    // Nobody listens for this: the command works on the folder by itself.
    const { report, status, stderr } = await verify()
    assert.equal(status, 1)
    assert.match(stderr, /^seaway: 1 damaged things could not be repaired/m)
    assert.equal(report.bad, 1)
    const { stdout } = await one.seaway(['verify', '--rate', 'none'], { allowFailure: true })
    assert.match(stdout, /1 damaged parts in 1 things; 0 repaired, 1 not/)
  })

  async function anyFile(data: string): Promise<string> {
    for (const sub of await readdir(join(data, 'blobs'))) {
      const [name] = await readdir(join(data, 'blobs', sub))
      if (name !== undefined) return join(data, 'blobs', sub, name)
    }
    throw new Error('there is no file')
  }
})
