/** What clients of a crash test share, and how one sends: each write is in the books before it goes out. */
import { Agent } from 'node:http'
import { type Answer, type Ask, ociClient } from '../support/oci-client.ts'
import type { Piece } from './content.ts'
import type { Made, Model, Sent } from './model.ts'

/** An upload that was left in the middle, to go on with after the crash. */
export interface LeftUpload {
  readonly repository: string
  readonly location: string
  readonly piece: Piece
  /** How many bytes were answered with a 2xx. */
  readonly answered: number
}

/** What a request changes. */
export interface Change {
  readonly kind: 'tag' | 'manifest' | 'blob'
  readonly repository: string
  /** The tag, or the digest. */
  readonly name: string
  /** What a tag points at then, or the manifest or blob itself; `undefined` when it goes. */
  readonly digest: string | undefined
  /** Of a manifest. */
  readonly made?: Made
}

/** A change that was sent, and where its answer came, for who watches the gateway from outside. */
export interface Historic extends Change {
  /** The client's port, and the how manieth answer on that connection. */
  answer?: { readonly port: number; readonly nth: number }
  refused?: true
}

/** What clients share. */
export interface Books {
  readonly model: Model
  /** Part of every seed. */
  readonly salt: string
  round: number
  /** Answers that no gateway should give. */
  readonly wrong: string[]
  readonly left: LeftUpload[]
  /** Answers by method and status. */
  readonly stats: Record<string, number>
  /** Whether a collection may have taken what was just pushed, so that a manifest may be refused. */
  collecting: boolean
  onAnswer(): void
  /** All that was sent, in order; clients then keep to tags of their own. */
  readonly history?: Historic[]
}

/** The gateway refused; the client goes on with something else. */
export class Refused extends Error {}

/** One client's connection to the gateway. */
export interface Sender {
  /** A request that must be answered with one of these; throws {@link Refused} when it isn't. */
  call(method: string, path: string, allowed: readonly number[], ask?: Ask): Promise<Answer>
  /** The same for a request that changes something. */
  write(
    changes: readonly Change[],
    ...request: [method: string, path: string, allowed: readonly number[], ask?: Ask]
  ): Promise<Answer>
  close(): void
}

export function createSender(port: number, books: Books): Sender {
  const { model } = books
  const http = ociClient({ port })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const counts = new Map<number, number>()

  async function send(
    method: string,
    path: string,
    allowed: readonly number[],
    ask: Ask = {}
  ): Promise<{ answer: Answer; place: { port: number; nth: number } }> {
    const answer = await http.call(method, path, { agent, ...ask })
    const from = answer.localPort ?? 0
    const nth = (counts.get(from) ?? 0) + 1
    counts.set(from, nth)
    books.onAnswer()
    const kind = `${method} ${answer.status}`
    books.stats[kind] = (books.stats[kind] ?? 0) + 1
    if (allowed.includes(answer.status)) return { answer, place: { port: from, nth } }
    const text = `${method} ${path}: ${answer.status} ${answer.body.toString().slice(0, 200)}`
    if (!(books.collecting && answer.code === 'MANIFEST_BLOB_UNKNOWN')) books.wrong.push(text)
    throw new Refused(text)
  }

  function begin({ kind, repository, name, digest, made }: Change): Sent {
    if (kind === 'tag') return model.tag(repository, name).begin(digest)
    const is = made === undefined ? model.loose(repository, name) : model.manifest(repository, made)
    return is.begin(digest !== undefined)
  }

  return {
    call: async (...request) => (await send(...request)).answer,
    async write(changes, ...request) {
      const sent = changes.map(begin)
      const historic = changes.map((change): Historic => ({ ...change }))
      books.history?.push(...historic)
      const refuse = () => {
        for (const each of sent) each.refused()
        for (const each of historic) each.refused = true
      }
      try {
        const { answer, place } = await send(...request)
        // 202 with an upload is a mount that was not made.
        if (answer.status >= 300 || answer.headers['docker-upload-uuid'] !== undefined) refuse()
        else {
          for (const each of sent) each.done()
          for (const each of historic) each.answer = place
        }
        return answer
      } catch (error) {
        if (error instanceof Refused) refuse()
        throw error
      }
    },
    close: () => agent.destroy()
  }
}
