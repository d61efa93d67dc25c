/** A client of a crash test: sends one random thing after another until the gateway is gone. */
import { Readable } from 'node:stream'
import type { Random } from '../fuzz/random.ts'
import { digestOf, withQuery } from '../support/oci-client.ts'
import { imageOf, indexOf, layerOf, type Piece, pieceOf } from './content.ts'
import { type Made, tick } from './model.ts'
import { type Books, type Change, createSender, Refused } from './sender.ts'

/** Repositories of three domains: one tree has two of them. */
export const REPOSITORIES = [
  'ships.example/app',
  'ships.example/deep/er/app',
  'docks.example/app',
  'plain'
] as const

/** Sends until the gateway is killed, or until `going` says no. */
export async function runClient(
  port: number,
  who: number,
  random: Random,
  books: Books,
  going: () => boolean
): Promise<void> {
  const { model } = books
  const { call, write, close } = createSender(port, books)
  let mark = 0
  const seed = () => `${books.salt} ${books.round} ${who} ${++mark}`
  /** What this client has put whole, in which repository: to tag again, to refer to, to delete. */
  const mine: { repository: string; made: Made }[] = []
  const lately = () => mine.at(-1 - random.below(3))

  async function begin(repository: string): Promise<string> {
    const { headers } = await call('POST', `/v2/${repository}/blobs/uploads/`, [202])
    return String(headers.location)
  }

  /** Pushes a blob in one of the ways that clients have. */
  async function putBlob(repository: string, piece: Piece): Promise<void> {
    const { bytes, digest } = piece
    const there: Change[] = [{ kind: 'blob', repository, name: digest, digest }]
    const finish = async (location: string, body?: Buffer) =>
      void (await write(there, 'PUT', withQuery(location, `digest=${digest}`), [201], body ? { body } : {}))
    switch (random.below(5)) {
      case 0:
        await write(there, 'POST', `/v2/${repository}/blobs/uploads/?digest=${digest}`, [201], {
          body: bytes
        })
        return
      case 1: {
        // As docker does: one PATCH of unknown length, an empty PUT.
        const location = await begin(repository)
        const { headers } = await call('PATCH', location, [202], { body: Readable.from([bytes]) })
        return finish(String(headers.location))
      }
      case 2: {
        // In chunks, of which the last comes with the end.
        let location = await begin(repository)
        const cuts = [0, random.below(bytes.length), random.below(bytes.length)].sort((a, b) => a - b)
        for (const [i, from] of cuts.slice(0, -1).entries()) {
          const to = cuts[i + 1] as number
          if (to === from) continue
          const { headers } = await call('PATCH', location, [202], {
            body: bytes.subarray(from, to),
            headers: { 'content-range': `${from}-${to - 1}` }
          })
          location = String(headers.location)
          if (random.oneIn(12)) {
            books.left.push({ repository, location, piece, answered: to })
            return putBlob(repository, piece)
          }
        }
        return finish(location, bytes.subarray(cuts.at(-1)))
      }
      default:
        return finish(await begin(repository), bytes)
    }
  }

  async function putManifest(repository: string, made: Made, tag?: string): Promise<void> {
    const { digest, bytes, mediaType } = made
    const changes: Change[] = [{ kind: 'manifest', repository, name: digest, digest, made }]
    if (tag !== undefined) changes.push({ kind: 'tag', repository, name: tag, digest })
    await write(changes, 'PUT', `/v2/${repository}/manifests/${tag ?? digest}`, [201], {
      body: bytes,
      headers: { 'content-type': mediaType }
    })
  }

  async function putImage(repository: string, tag?: string, subject?: Made): Promise<Made> {
    const config = pieceOf(200 + random.below(2000), seed())
    const layers = Array.from({ length: 1 + random.below(2) }, () => layerOf(random, books.salt, books.round))
    await Promise.all([config, ...layers].map((piece) => putBlob(repository, piece)))
    const made = imageOf(config, layers, seed(), subject)
    await putManifest(repository, made, tag)
    return made
  }

  async function pushImage(): Promise<void> {
    const repository = random.pick(REPOSITORIES)
    const made = await putImage(repository, random.oneIn(5) ? undefined : tagOf())
    mine.push({ repository, made })
  }

  async function pushIndex(): Promise<void> {
    const repository = random.pick(REPOSITORIES)
    const children = await Promise.all([putImage(repository), putImage(repository)])
    await putManifest(repository, indexOf(children, seed()), tagOf())
  }

  async function tagAgain(): Promise<void> {
    const again = lately()
    if (again !== undefined) await putManifest(again.repository, again.made, tagOf())
  }

  async function pushReferrer(): Promise<void> {
    const about = lately()
    if (about !== undefined) await putImage(about.repository, undefined, about.made)
  }

  async function deleteTag(): Promise<void> {
    const [repository, name] = [random.pick(REPOSITORIES), tagOf()]
    const gone: Change[] = [{ kind: 'tag', repository, name, digest: undefined }]
    await write(gone, 'DELETE', `/v2/${repository}/manifests/${name}`, [202, 404])
  }

  /** A manifest goes with all tags that point at it, which others may be moving. */
  async function deleteManifest(): Promise<void> {
    const gone = mine.splice(random.below(mine.length + 1), 1)[0]
    if (gone === undefined) return
    const { repository, made } = gone
    const { digest } = made
    const began = tick()
    const changes: Change[] = [{ kind: 'manifest', repository, name: digest, digest: undefined, made }]
    const tags = [...model.tags].filter(([key]) => key.startsWith(`${repository}:`))
    for (const [key, register] of tags.filter(([, each]) => each.allowed().includes(digest))) {
      if (books.history === undefined) register.maybe(undefined)
      else changes.push({ kind: 'tag', repository, name: key.split(':')[1] ?? '', digest: undefined })
    }
    const { status } = await write(changes, 'DELETE', `/v2/${repository}/manifests/${digest}`, [202, 404])
    if (status < 300) for (const [, register] of tags) register.not(digest, began)
  }

  async function mountAndDelete(): Promise<void> {
    const [repository, other] = [random.pick(REPOSITORIES), random.pick(REPOSITORIES)]
    const piece = pieceOf(100 + random.below(200_000), seed())
    const { digest } = piece
    await putBlob(repository, piece)
    if (other !== repository) {
      const mount = `/v2/${other}/blobs/uploads/?mount=${digest}&from=${repository}`
      const there: Change[] = [{ kind: 'blob', repository: other, name: digest, digest }]
      await write(there, 'POST', mount, books.collecting ? [201, 202] : [201])
    }
    if (random.oneIn(2)) return
    const gone: Change[] = [{ kind: 'blob', repository, name: digest, digest: undefined }]
    await write(gone, 'DELETE', `/v2/${repository}/blobs/${digest}`, [202, 404])
  }

  /** What is read while others write is whole, too. */
  async function read(): Promise<void> {
    const path = `/v2/${random.pick(REPOSITORIES)}/manifests/${tagOf()}`
    const answer = await call('GET', path, [200, 404], { headers: { accept: '*/*' } })
    const said = answer.headers['docker-content-digest']
    if (answer.status === 200 && digestOf(answer.body) !== said) books.wrong.push(`${path}: not ${said}`)
  }

  /** A tag of this client's, or one that all write; of these nobody outside knows who was last. */
  const tagOf = () =>
    books.history === undefined && random.oneIn(3) ? `shared${random.below(3)}` : `c${who}-${random.below(3)}`

  const acts = [pushIndex, tagAgain, pushReferrer, deleteTag, deleteManifest, mountAndDelete, read]
  for (let i = 0; i < 5; i++) acts.push(pushImage)
  try {
    while (going()) {
      try {
        await random.pick(acts)()
      } catch (error) {
        if (!(error instanceof Refused)) throw error
      }
    }
  } catch (error) {
    // The gateway was killed: what was under way may have happened or not.
    const { code = '', message } = error as NodeJS.ErrnoException
    if (!/^(ECONN|EPIPE)/.test(code) && !/hang up|aborted/.test(message)) throw error
  } finally {
    close()
  }
}
