import { reason } from '../oci/errors.ts'
import type { Tokens } from '../upstream/tokens.ts'
import type { Ask, Http, Reply } from './http.ts'
import { MoveError, Refused } from './types.ts'

/** How one repository of a registry is reached. */
export interface RegistryAccess {
  readonly http: Http
  readonly repository: string
  /** What it is shown when it asks for a login. */
  readonly tokens?: Tokens
  /** How the repository is called for people. */
  readonly name: string
}

/** Requests to one repository: logged in where that is asked for, refusals put into words. */
export interface RegistryAsk {
  /** @throws {Refused} for a status that isn't among those expected; {@link MoveError} for what may pass */
  ask(what: Ask, expected: readonly number[]): Promise<Reply>
  /** A GET that may be sent elsewhere for its bytes, without what we show to this one. */
  follow(what: Ask): Promise<Reply>
}

/** Makes it. */
export function createAsk({ http, repository, tokens, name }: RegistryAccess): RegistryAsk {
  /** Sends a request, logs in where that is asked for, and reads refusals. */
  async function ask(what: Ask, expected: readonly number[]): Promise<Reply> {
    const key = `${repository} ${what.method === 'GET' || what.method === 'HEAD' ? 'pull' : 'push'}`
    for (let tries = 0; ; tries++) {
      // an upload may go on at another host, which has no business with what we show to this one
      const home = new URL(what.path, http.address.url).origin === http.address.url.origin
      const shown = home ? tokens?.known(key) : undefined
      const reply = await http.send({
        ...what,
        headers: { ...what.headers, ...(shown !== undefined && { authorization: shown }) }
      })
      if (expected.includes(reply.status)) return reply
      const text = (await http.read(reply, 64 * 1024).catch(() => Buffer.alloc(0))).toString()
      if (reply.status !== 401 || tokens === undefined || tries > 0) throw refusal(reply.status, text, name)
      tokens.refused(key)
      await tokens.challenged(key, reply.headers['www-authenticate'], what.signal).catch((error: unknown) => {
        what.signal.throwIfAborted()
        throw new MoveError(`${name}: ${reason(error)}; docker login ${http.address.url.host} lets you in`, {
          cause: error
        })
      })
      // a body that was sent is gone
      if (
        what.content !== undefined &&
        typeof what.content !== 'string' &&
        !(what.content instanceof Uint8Array)
      )
        throw new MoveError(`${name} asked for a login in mid-push; try again`)
    }
  }

  async function follow(what: Ask): Promise<Reply> {
    let reply = await ask(what, [200, 206, 301, 302, 303, 307, 308])
    for (let hops = 0; reply.status >= 300; hops++) {
      reply.body.resume()
      if (hops === 5) throw new MoveError(`${name} redirects more than 5 times`)
      const url = new URL(locationIn(reply, name), http.address.url)
      if (http.address.url.protocol === 'https:' && url.protocol !== 'https:')
        throw new MoveError(`${name} redirects to ${url.origin} without TLS, which is refused`)
      reply = await http.send({ ...what, path: url.href })
      if (reply.status >= 400) throw refusal(reply.status, '', name)
    }
    return reply
  }

  return { ask, follow }
}

/** Where an answer says that something goes on. @throws {MoveError} */
export function locationIn({ headers }: Reply, name: string): string {
  if (headers.location === undefined) throw new MoveError(`${name} does not say where that goes on`)
  return headers.location
}

/** What a registry's refusal says, in one line. */
function refusal(status: number, text: string, name: string): MoveError {
  let said = ''
  try {
    const [first] = (JSON.parse(text) as { errors?: { code?: string; message?: string }[] }).errors ?? []
    said = first?.message ?? first?.code ?? ''
  } catch {}
  const what = said === '' ? (WORDS[status] ?? `it answered ${status}`) : said
  const message = `${name}: ${what}`
  return status >= 500 && status !== 507
    ? new MoveError(message)
    : new Refused(message, { unknown: status === 404 })
}

const WORDS: Readonly<Record<number, string>> = {
  401: 'it asks for a login (docker login)',
  403: 'it refuses access',
  404: 'it has no such image; seaway images and seaway tags list what there is',
  413: 'it takes no content of that size',
  429: 'it is asked too often; try again later',
  507: 'its disk is full'
}
