import type { Context } from 'koa'
import { isAbort, RegistryError } from '../oci/errors.ts'
import { OCI_INDEX } from '../oci/media-types.ts'
import { parseRepository } from '../oci/reference.ts'
import type { Listed, Page, PullTarget, Registry } from '../registry/index.ts'
import type { Signatures } from '../signatures/index.ts'
import { permitOf } from './permit.ts'
import { parseRange } from './range.ts'
import {
  cataloguePlace,
  digestOfPath,
  type Exchange,
  linkNext,
  type Naming,
  pageOf,
  queryOf,
  referenceOf,
  repositoryOf
} from './request.ts'

/** Handlers that read. Each follows the section of the distribution specification that its route names. */
export interface PullHandlers {
  ping(exchange: Exchange): Promise<void>
  manifest(exchange: Exchange): Promise<void>
  blob(exchange: Exchange): Promise<void>
  tags(exchange: Exchange): Promise<void>
  catalogue(exchange: Exchange): Promise<void>
  referrers(exchange: Exchange): Promise<void>
}

/** @param signatures asked about what goes out; nothing need be signed unless given */
export function createPullHandlers(
  registry: Registry,
  naming: Naming,
  signatures?: Signatures
): PullHandlers {
  const { pull, lists } = registry

  /** What a client asks for. Where its name leads to another registry, too, it is looked for there if it may read that. */
  async function targetOf(ctx: Context): Promise<PullTarget> {
    const name = repositoryOf(ctx, naming)
    const elsewhere = naming.names?.elsewhere(name)
    const permit = permitOf(ctx)
    const whole =
      elsewhere === undefined || permit === undefined || (await permit.hasRight(elsewhere, 'pull'))
    return whole ? name : { ...name, hereOnly: true }
  }

  /**
   * A HEAD only asks whether it is here. Clients ask before they push, to a domain that may publish
   * nothing yet, and mirrors are asked before the real registry: both want an early "no" rather than to
   * hear why a name could not be resolved. A GET tells.
   */
  async function answerHead<T>(
    exchange: Exchange,
    look: () => Promise<T>,
    failures = /^SOURCE_/
  ): Promise<T> {
    try {
      return await look()
    } catch (error) {
      const sourceFailed =
        error instanceof RegistryError && (failures.test(error.code) || error.code === 'DENIED')
      if (exchange.ctx.method !== 'HEAD' || !(sourceFailed || isAbort(error))) throw error
      throw new RegistryError('MANIFEST_UNKNOWN', 'not here, and its sources cannot be asked', {
        cause: error
      })
    }
  }

  return {
    async ping({ ctx }) {
      ctx.body = {}
    },

    async manifest(exchange) {
      const { ctx, signal } = exchange
      const name = await targetOf(ctx)
      const reference = referenceOf(ctx, 404)
      const manifest = await answerHead(exchange, () => pull.manifest(name, reference, signal))
      const maySign = async () => (await permitOf(ctx)?.hasRight(name, 'push')) === true
      await signatures?.atPull(name, reference, manifest, maySign, signal)
      ctx.set('Docker-Content-Digest', manifest.digest)
      ctx.set('ETag', `"${manifest.digest}"`)
      if (manifest.stale !== undefined) ctx.set('Warning', staleWarning(manifest.stale))
      if (isFresh(ctx.get('If-None-Match'), manifest.digest)) {
        ctx.status = 304
        return
      }
      ctx.type = manifest.mediaType
      ctx.set('Content-Type', manifest.mediaType)
      ctx.length = manifest.bytes.length
      ctx.body = ctx.method === 'HEAD' ? null : manifest.bytes
      if (ctx.method === 'HEAD') {
        ctx.status = 200
        ctx.set('Content-Type', manifest.mediaType)
        ctx.length = manifest.bytes.length
      }
    },

    async blob(exchange) {
      const { ctx, signal } = exchange
      const name = await targetOf(ctx)
      const digest = digestOfPath(ctx)
      const head = ctx.method === 'HEAD'
      const blob = await answerHead(
        exchange,
        () => pull.blob(name, digest, signal, { head }),
        /^SOURCE_|^TOOMANY/
      )
      const headers = {
        'Docker-Content-Digest': digest,
        ETag: `"${digest}"`,
        'Accept-Ranges': 'bytes',
        // What a digest names never changes.
        'Cache-Control': 'max-age=31536000, immutable'
      }
      if (isFresh(ctx.get('If-None-Match'), digest)) {
        ctx.set(headers)
        ctx.status = 304
        return
      }
      const ifRange = ctx.get('If-Range')
      const header = ifRange === '' || ifRange === `"${digest}"` ? ctx.get('Range') : ''
      const range = ctx.method === 'HEAD' || header === '' ? undefined : parseRange(header, blob.size)
      const body = ctx.method === 'HEAD' ? null : await blob.open(range)
      // not before: a refusal isn't to be kept for ever
      ctx.set(headers)
      ctx.status = range === undefined ? 200 : 206
      if (body !== null) ctx.body = body
      ctx.set('Content-Type', 'application/octet-stream')
      if (range !== undefined) ctx.set('Content-Range', `bytes ${range.start}-${range.end}/${blob.size}`)
      ctx.length = range === undefined ? blob.size : range.end - range.start + 1
      // Fewer bytes than were promised must never look like the end of the blob.
      body?.on('error', () => ctx.res.destroy())
    },

    async tags({ ctx, signal }) {
      const name = repositoryOf(ctx, naming)
      const page = pageOf(ctx)
      const { items, more, stale } = await lists.tags(name, page, signal)
      if (stale !== undefined) ctx.set('Warning', staleWarning(stale))
      if (more) linkNext(ctx, page, items.at(-1))
      ctx.body = { name: name.asked, tags: items }
    },

    async catalogue({ ctx, signal }) {
      const page = pageOf(ctx)
      const { place, prefix } = cataloguePlace(ctx, naming)
      const after = page.after.startsWith(prefix) ? page.after.slice(prefix.length) : page.after
      const some = (part: Page) =>
        place === undefined ? lists.catalogue(part, signal) : lists.repositories(place, part, signal)
      const nameIn = (name: string) =>
        place === undefined ? parseRepository(name) : { asked: prefix + name, place, repository: name }
      const permit = permitOf(ctx)
      const { items, more } =
        permit === undefined
          ? await some({ ...page, after })
          : await visible({ ...page, after }, some, (name) => permit.may(nameIn(name), 'pull'))
      const names = items.map((name) => prefix + name)
      if (more) linkNext(ctx, page, names.at(-1))
      ctx.body = { repositories: names }
    },

    async referrers({ ctx, signal }) {
      const name = repositoryOf(ctx, naming)
      const subject = digestOfPath(ctx)
      const artifactType = queryOf(ctx, 'artifactType')
      const page = pageOf(ctx)
      const { items, more, stale } = await lists
        .referrers(name, subject, artifactType, page, signal)
        .catch((error: unknown) => {
          // A repository that nobody knows has no referrers; that is an answer, not an error. Not so one that could not
          // be asked for: it would look unsigned.
          if (error instanceof RegistryError && error.code === 'NAME_UNKNOWN' && error.cause === undefined)
            return { items: [], more: false, stale: undefined }
          throw error
        })
      if (more) linkNext(ctx, page, items.at(-1)?.digest)
      if (stale !== undefined) ctx.set('Warning', staleWarning(stale))
      if (artifactType !== undefined) ctx.set('OCI-Filters-Applied', 'artifactType')
      ctx.body = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: items })
      ctx.set('Content-Type', OCI_INDEX)
    }
  }
}

/** What says that an answer may be out of date, and why. @see https://www.rfc-editor.org/rfc/rfc7234#section-5.5.1 */
function staleWarning(why: string): string {
  return `110 seaway "the upstream cannot be asked: ${why.replace(/[^\x20-\x7e]|["\\]/g, ' ').slice(0, 300)}"`
}

/** How many names are looked at to fill a page with those that a client may see. */
const AT_ONCE = 1000

/** A page of what a client may see of a list. It looks as far as it must, so that a short page is the last. */
async function visible(
  page: Page,
  list: (page: Page) => Promise<Listed<string>>,
  may: (name: string) => Promise<boolean>
): Promise<Listed<string>> {
  const items: string[] = []
  for (let { after } = page; ; ) {
    const some = await list({ after, limit: AT_ONCE })
    for (const name of some.items) {
      if (!(await may(name))) continue
      if (items.length === page.limit) return { items, more: true }
      items.push(name)
    }
    const last = some.items.at(-1)
    if (!some.more || last === undefined) return { items, more: false }
    after = last
  }
}

/** Whether an If-None-Match header names this content. */
function isFresh(header: string, digest: string): boolean {
  return (
    header !== '' &&
    header
      .split(',')
      .some((tag) => tag.trim().replace(/^W\//, '').replaceAll('"', '') === digest || tag.trim() === '*')
  )
}
