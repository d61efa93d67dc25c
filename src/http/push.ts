import type { Context } from 'koa'
import { clip, isAlgorithm } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST } from '../oci/manifest.ts'
import { isTag, type RepositoryName } from '../oci/reference.ts'
import {
  type Pushed,
  type Registry,
  type UploadStatus,
  type UploadTarget,
  uploadHeaders
} from '../registry/index.ts'
import type { Signatures } from '../signatures/index.ts'
import { bodyOf } from './early.ts'
import { permitOf } from './permit.ts'
import {
  chunkRangeOf,
  digestOfPath,
  digestOfQuery,
  type Exchange,
  type Naming,
  queryOf,
  readBody,
  referenceOf,
  repositoryNamed,
  repositoryOf
} from './request.ts'

/** Handlers that write. Each follows the section of the distribution specification that its route names. */
export interface PushHandlers {
  startUpload(exchange: Exchange): Promise<void>
  uploadStatus(exchange: Exchange): Promise<void>
  appendUpload(exchange: Exchange): Promise<void>
  finishUpload(exchange: Exchange): Promise<void>
  cancelUpload(exchange: Exchange): Promise<void>
  putManifest(exchange: Exchange): Promise<void>
  deleteManifest(exchange: Exchange): Promise<void>
  deleteBlob(exchange: Exchange): Promise<void>
}

/** @param signatures asked about what gets a tag; nothing need be signed unless given */
export function createPushHandlers(
  registry: Registry,
  naming: Naming,
  signatures?: Signatures
): PushHandlers {
  const { push, uploads } = registry

  const uploadId = (ctx: Context) => String(ctx['params']?.id ?? '')

  function created(ctx: Context, name: RepositoryName, digest: string): void {
    ctx.status = 201
    ctx.set('Location', `/v2/${name.asked}/blobs/${digest}`)
    ctx.set('Docker-Content-Digest', digest)
    ctx.length = 0
  }

  function uploading(ctx: Context, name: RepositoryName, status: UploadStatus, code: number): void {
    ctx.status = code
    ctx.set('Location', `/v2/${name.asked}/blobs/uploads/${status.id}${nsQuery(ctx)}`)
    ctx.set(uploadHeaders(status))
    ctx.length = 0
  }

  return {
    async startUpload({ ctx, signal }) {
      const name = uploadTarget(ctx)
      push.writableDomain(name)
      const mount = digestOfQuery(ctx, 'mount')
      const from = await mountSource(ctx)
      if (mount !== undefined && from !== 'nowhere' && (await push.mount(name, mount, from, signal))) {
        created(ctx, name, mount)
        return
      }
      const digest = digestOfQuery(ctx)
      checkAlgorithm(queryOf(ctx, 'digest-algorithm'))
      const status = await uploads.start(name)
      if (digest === undefined) {
        uploading(ctx, name, status, 202)
        return
      }
      try {
        await uploads.finish(name, status.id, bodyOf(ctx), undefined, digest)
      } catch (error) {
        await dropUpload(name, status.id)
        throw error
      }
      created(ctx, name, digest)
    },

    async uploadStatus({ ctx }) {
      const name = uploadTarget(ctx)
      uploading(ctx, name, await uploads.status(name, uploadId(ctx)), 204)
    },

    async appendUpload({ ctx }) {
      const name = uploadTarget(ctx)
      uploading(ctx, name, await uploads.append(name, uploadId(ctx), bodyOf(ctx), chunkRangeOf(ctx)), 202)
    },

    async finishUpload({ ctx }) {
      const name = uploadTarget(ctx)
      const digest = digestOfQuery(ctx)
      if (digest === undefined) {
        throw new RegistryError(
          'DIGEST_INVALID',
          'say which blob this is: end the upload with PUT …?digest=sha256:<hex>'
        )
      }
      await uploads.finish(name, uploadId(ctx), bodyOf(ctx), chunkRangeOf(ctx), digest)
      created(ctx, name, digest)
    },

    async cancelUpload({ ctx }) {
      await uploads.cancel(uploadTarget(ctx), uploadId(ctx))
      ctx.status = 204
    },

    async putManifest({ ctx, signal }) {
      const name = repositoryOf(ctx, naming)
      const reference = referenceOf(ctx, 400)
      const bytes = await readBody(ctx, MAX_MANIFEST)
      const what = {
        bytes,
        contentType: ctx.get('Content-Type') || undefined,
        digest: reference.kind === 'digest' ? reference.digest : undefined,
        tags: reference.kind === 'tag' ? [reference.tag] : extraTags(ctx)
      }
      await signatures?.atPush(name, what, signal)
      const pushed = await push.manifest(name, what, signal)
      ctx.status = 201
      ctx.set('Location', `/v2/${name.asked}/manifests/${pushed.digest}`)
      ctx.set('Docker-Content-Digest', pushed.digest)
      await tellRoot(ctx, pushed)
      if (pushed.subject !== undefined) ctx.set('OCI-Subject', pushed.subject)
      if (reference.kind === 'digest') for (const tag of extraTags(ctx)) ctx.append('OCI-Tag', tag)
      ctx.length = 0
    },

    async deleteManifest({ ctx, signal }) {
      await push.deleteManifest(repositoryOf(ctx, naming), referenceOf(ctx, 404), signal)
      ctx.status = 202
      ctx.length = 0
    },

    async deleteBlob({ ctx, signal }) {
      await push.deleteBlob(repositoryOf(ctx, naming), digestOfPath(ctx), signal)
      ctx.status = 202
      ctx.length = 0
    }
  }

  /**
   * Says which root a push has made, to who may read all that is below it: whoever knows a root can have a name of their
   * own lead to it, and has rights there.
   */
  async function tellRoot(ctx: Context, { domain, root }: Pushed): Promise<void> {
    ctx.state['root'] = root.toString()
    const permit = permitOf(ctx)
    if (permit === undefined || (await permit.readsAll(domain))) ctx.set('Seaway-Root', root.toString())
  }

  /** Where an upload of this client goes: one is found again by who began it alone. */
  function uploadTarget(ctx: Context): UploadTarget {
    const name = repositoryOf(ctx, naming)
    const by = permitOf(ctx)?.owner
    return by === undefined ? name : { ...name, by }
  }

  /**
   * Where a blob is mounted from; a name that can't be one is where nothing is, and so is one that the client may not
   * read. From anywhere at all, only who may read everything.
   */
  async function mountSource(ctx: Context): Promise<RepositoryName | undefined | 'nowhere'> {
    const from = queryOf(ctx, 'from')
    const permit = permitOf(ctx)
    if (from === undefined)
      return permit === undefined || (await permit.mayEverywhere('pull')) ? undefined : 'nowhere'
    try {
      const name = repositoryNamed(ctx, naming, from)
      return permit === undefined || (await permit.may(name, 'pull')) ? name : 'nowhere'
    } catch (error) {
      if (error instanceof RegistryError) return 'nowhere'
      throw error
    }
  }

  /** A monolithic upload that failed has no session for the client to come back to. */
  async function dropUpload(name: UploadTarget, id: string): Promise<void> {
    await uploads.cancel(name, id).catch(() => undefined) // it ended with the failure already
  }
}

/** Tags asked for along with a push by digest, `?tag=a&tag=b`, as the specification's main branch has it. */
function extraTags(ctx: Context): string[] {
  const value = ctx.query['tag']
  const tags = value === undefined ? [] : [value].flat()
  const bad = tags.find((tag) => !isTag(tag))
  if (bad !== undefined) throw new RegistryError('TAG_INVALID', `'${bad.slice(0, 150)}' is not a tag`)
  return tags
}

/** The algorithm that an upload's digest will be of, where the client says it beforehand. */
function checkAlgorithm(text: string | undefined): void {
  if (text === undefined || isAlgorithm(text)) return
  throw new RegistryError(
    'DIGEST_INVALID',
    `'${clip(text)}' is not a digest algorithm that is kept here: use sha256 or sha512`
  )
}

/** A mirror's client repeats `?ns=` only if the Location that it follows has it. */
function nsQuery(ctx: Context): string {
  const ns = queryOf(ctx, 'ns')
  return ns === undefined ? '' : `?ns=${encodeURIComponent(ns)}`
}
