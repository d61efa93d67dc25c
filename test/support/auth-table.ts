/** What every route answers to every kind of credentials: see test/http/auth-routes.spec.ts. */
import type { RouteAccess } from '../../src/http/routes.ts'

/** What each kind of credentials gets, by what a route asks for: the status, or `in` for what the route answers with rights. */
export type Expected = Record<Exclude<RouteAccess, 'open'>, number | 'in'>

/**
 * What each route answers to those who are let in; some find what the one before them has left. A route that isn't here
 * fails, so that none is made without looking at who may use it.
 */
export const ANSWERS: Readonly<Record<string, readonly number[]>> = {
  'GET /v2/': [200],
  'HEAD /v2/': [200],
  'GET /v2/_catalog': [200],
  'HEAD /v2/_catalog': [200],
  'GET /v2/*name/_catalog': [200],
  'HEAD /v2/*name/_catalog': [200],
  'GET /v2/*name/tags/list': [200],
  'HEAD /v2/*name/tags/list': [200],
  'GET /v2/*name/manifests/:reference': [404],
  'HEAD /v2/*name/manifests/:reference': [404],
  'PUT /v2/*name/manifests/:reference': [400],
  'DELETE /v2/*name/manifests/:reference': [404],
  'GET /v2/*name/referrers/:digest': [200],
  'HEAD /v2/*name/referrers/:digest': [200],
  'POST /v2/*name/blobs/uploads/': [202],
  'GET /v2/*name/blobs/uploads/:id': [404],
  'HEAD /v2/*name/blobs/uploads/:id': [404],
  'PATCH /v2/*name/blobs/uploads/:id': [404],
  'PUT /v2/*name/blobs/uploads/:id': [400],
  'DELETE /v2/*name/blobs/uploads/:id': [404],
  'GET /v2/*name/blobs/:digest': [200],
  'HEAD /v2/*name/blobs/:digest': [200],
  'DELETE /v2/*name/blobs/:digest': [202, 404],
  'POST /v2/_seaway/publish/:domain': [200],
  'GET /metrics': [200],
  'HEAD /metrics': [200],
  'GET /ipfs/:cid': [200],
  'HEAD /ipfs/:cid': [200],
  'GET /ipfs/:cid/*path': [400],
  'HEAD /ipfs/:cid/*path': [400],
  'GET /ipns/:name': [404],
  'HEAD /ipns/:name': [404],
  'GET /seaway/blobs': [200],
  'HEAD /seaway/blobs': [200],
  'GET /routing/v1/ipns/:name': [404],
  'HEAD /routing/v1/ipns/:name': [404],
  // the test's registry keeps no IPNS names
  'PUT /routing/v1/ipns/:name': [404],
  'GET /auth/token': [200],
  'HEAD /auth/token': [200],
  // without a form
  'POST /auth/token': [415],
  'GET /auth/whoami': [200],
  'HEAD /auth/whoami': [200]
}

/** What is about something in particular, for whoever has no right to it. */
const FORBIDDEN = { pull: 403, push: 403, delete: 403, publish: 403, admin: 403 } as const

/** Of open routes: what those get whose credentials are wrong, where they are looked at all the same. */
export const WRONG: Readonly<Record<string, number>> = {
  'GET /auth/token': 401,
  'HEAD /auth/token': 401,
  'GET /auth/whoami': 401,
  'HEAD /auth/whoami': 401
}

/** Kinds of credentials that stand for somebody, or for nobody; the others are wrong. */
export const RIGHT: readonly string[] = [
  'no user',
  'no credentials as skopeo sends them',
  'right user',
  'right user without right',
  'right token',
  'token without right',
  'anonymous token',
  'token for lists',
  "other repository's token",
  'machine token',
  "other repository's machine token"
]

const none: Expected = { ping: 401, list: 401, pull: 401, push: 401, delete: 401, publish: 401, admin: 401 }

/** With the rights that it takes, a route answers this much or less: anything but a refusal. */
export const KINDS: Record<string, Expected> = {
  'no user': none,
  'wrong password': none,
  'unknown user': none,
  'right user': {
    ping: 'in',
    list: 'in',
    pull: 'in',
    push: 'in',
    delete: 'in',
    publish: 'in',
    admin: 'in'
  },
  'right user without right': {
    ping: 'in',
    list: 'in',
    ...FORBIDDEN
  },
  'right token': { ping: 'in', list: 401, pull: 'in', push: 'in', delete: 'in', publish: 401, admin: 401 },
  'token without right': {
    ping: 'in',
    list: 401,
    ...FORBIDDEN
  },
  'anonymous token': { ping: 'in', list: 401, pull: 401, push: 401, delete: 401, publish: 401, admin: 401 },
  'token for lists': {
    ping: 'in',
    list: 'in',
    pull: 401,
    push: 401,
    delete: 401,
    publish: 401,
    admin: 401
  },
  'expired token': none,
  'token of another key': none,
  'token signed by another key with the name of ours': none,
  'alg: none': none,
  'HS256 with the public key': none,
  'other audience': none,
  'refresh token': none,
  "other repository's token": {
    ping: 'in',
    list: 401,
    pull: 401,
    push: 401,
    delete: 401,
    publish: 401,
    admin: 401
  },
  'machine token': {
    ping: 'in',
    list: 'in',
    pull: 'in',
    push: 'in',
    delete: 403,
    publish: 403,
    admin: 403
  },
  "other repository's machine token": {
    ping: 'in',
    list: 'in',
    ...FORBIDDEN
  },
  'expired machine token': none,
  'revoked machine token': none,
  'another scheme': none,
  'no credentials as skopeo sends them': none
}
