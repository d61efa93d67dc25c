import type { PullHandlers } from './pull.ts'
import type { PushHandlers } from './push.ts'
import type { Exchange } from './request.ts'

/** An endpoint: a row of the route table. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'
  /** In the notation of @koa/router; `*name` stands for a name with slashes. A GET route also answers HEAD. */
  readonly path: string
  readonly about: string
  /** Whether waiting for others (DNS, peers) is bounded by the pull deadline; bodies of clients are not. */
  readonly deadline: boolean
  readonly handle: (exchange: Exchange) => Promise<void>
}

/**
 * The route table. README's list of endpoints is generated from it.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
 */
export function routeTable(pull: PullHandlers, push: PushHandlers): readonly Route[] {
  return [
    route('GET', '/v2/', 'says that this is a registry', true, pull.ping),
    route(
      'GET',
      '/v2/_catalog',
      'lists the repositories of local trees, in pages (`n`, `last`)',
      true,
      pull.catalogue
    ),
    route(
      'GET',
      '/v2/*name/_catalog',
      'lists those of one domain, or of one root (`ipfs/<CID>`)',
      true,
      pull.catalogue
    ),
    route(
      'GET',
      '/v2/*name/tags/list',
      'lists tags in lexical order, in pages (`n`, `last`)',
      true,
      pull.tags
    ),
    route('GET', '/v2/*name/manifests/:reference', 'a manifest by tag or digest', true, pull.manifest),
    route(
      'PUT',
      '/v2/*name/manifests/:reference',
      'keeps a manifest under a tag or its digest',
      true,
      push.putManifest
    ),
    route(
      'DELETE',
      '/v2/*name/manifests/:reference',
      'deletes a tag, or a manifest with its tags',
      true,
      push.deleteManifest
    ),
    route(
      'GET',
      '/v2/*name/referrers/:digest',
      'manifests that refer to this one (`artifactType`)',
      true,
      pull.referrers
    ),
    route(
      'POST',
      '/v2/*name/blobs/uploads/',
      'begins an upload (`digest`: in one request; `mount`, `from`: from another repository)',
      false,
      push.startUpload
    ),
    route(
      'GET',
      '/v2/*name/blobs/uploads/:id',
      'says how much of an upload has arrived',
      false,
      push.uploadStatus
    ),
    route('PATCH', '/v2/*name/blobs/uploads/:id', 'adds a chunk to an upload', false, push.appendUpload),
    route('PUT', '/v2/*name/blobs/uploads/:id', 'ends an upload (`digest`)', false, push.finishUpload),
    route('DELETE', '/v2/*name/blobs/uploads/:id', 'cancels an upload', false, push.cancelUpload),
    route('GET', '/v2/*name/blobs/:digest', 'a blob, or a range of it', true, pull.blob),
    route('DELETE', '/v2/*name/blobs/:digest', 'takes a blob from a repository', true, push.deleteBlob)
  ]
}

/** One row of a route table. */
export function route(
  method: Route['method'],
  path: string,
  about: string,
  deadline: boolean,
  handle: Route['handle']
): Route {
  return { method, path, about, deadline, handle }
}
