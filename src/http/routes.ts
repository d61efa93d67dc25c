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
  /** What a client needs to be let in, where users are asked for; see {@link RouteAccess}. */
  readonly access: RouteAccess
  readonly handle: (exchange: Exchange) => Promise<void>
}

/**
 * What a route is to those who may not do everything.
 *
 * - `open`: anybody may come
 * - `ping`: whoever has any token, also an anonymous one
 * - `list`: the same; the list holds what the client may see
 * - `admin`: whoever may do everything everywhere; no token of the token endpoint is for that
 * - the others are rights on the repository in the path, or on its domain (`publish`)
 */
export type RouteAccess = 'open' | 'ping' | 'list' | 'pull' | 'push' | 'delete' | 'publish' | 'admin'

/**
 * The route table. README's list of endpoints is generated from it.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
 */
export function routeTable(pull: PullHandlers, push: PushHandlers): readonly Route[] {
  return [
    route('GET', '/v2/', 'says that this is a registry', true, 'ping', pull.ping),
    route(
      'GET',
      '/v2/_catalog',
      'lists the repositories of local trees, in pages (`n`, `last`)',
      true,
      'list',
      pull.catalogue
    ),
    route(
      'GET',
      '/v2/*name/_catalog',
      'lists those of one domain, or of one root (`ipfs/<CID>`)',
      true,
      'list',
      pull.catalogue
    ),
    route(
      'GET',
      '/v2/*name/tags/list',
      'lists tags in lexical order, in pages (`n`, `last`)',
      true,
      'pull',
      pull.tags
    ),
    route(
      'GET',
      '/v2/*name/manifests/:reference',
      'a manifest by tag or digest',
      true,
      'pull',
      pull.manifest
    ),
    route(
      'PUT',
      '/v2/*name/manifests/:reference',
      'keeps a manifest under a tag or its digest',
      true,
      'push',
      push.putManifest
    ),
    route(
      'DELETE',
      '/v2/*name/manifests/:reference',
      'deletes a tag, or a manifest with its tags',
      true,
      'delete',
      push.deleteManifest
    ),
    route(
      'GET',
      '/v2/*name/referrers/:digest',
      'manifests that refer to this one (`artifactType`)',
      true,
      'pull',
      pull.referrers
    ),
    route(
      'POST',
      '/v2/*name/blobs/uploads/',
      'begins an upload (`digest`: in one request; `mount`, `from`: from another repository)',
      false,
      'push',
      push.startUpload
    ),
    route(
      'GET',
      '/v2/*name/blobs/uploads/:id',
      'says how much of an upload has arrived',
      false,
      'push',
      push.uploadStatus
    ),
    route(
      'PATCH',
      '/v2/*name/blobs/uploads/:id',
      'adds a chunk to an upload',
      false,
      'push',
      push.appendUpload
    ),
    route(
      'PUT',
      '/v2/*name/blobs/uploads/:id',
      'ends an upload (`digest`)',
      false,
      'push',
      push.finishUpload
    ),
    route('DELETE', '/v2/*name/blobs/uploads/:id', 'cancels an upload', false, 'push', push.cancelUpload),
    route('GET', '/v2/*name/blobs/:digest', 'a blob, or a range of it', true, 'pull', pull.blob),
    route(
      'DELETE',
      '/v2/*name/blobs/:digest',
      'takes a blob from a repository',
      true,
      'delete',
      push.deleteBlob
    )
  ]
}

/** One row of a route table. */
export function route(
  method: Route['method'],
  path: string,
  about: string,
  deadline: boolean,
  access: RouteAccess,
  handle: Route['handle']
): Route {
  return { method, path, about, deadline, access, handle }
}
