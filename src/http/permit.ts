import type { Context } from 'koa'
import type { Action } from '../auth/index.ts'
import type { RepositoryName } from '../oci/reference.ts'

/** What the client of a request may do besides what its route is for. */
export interface Permit {
  /** Whose uploads are its own; `undefined` where users aren't asked for. */
  readonly owner: string | undefined
  may(name: RepositoryName, action: Action): Promise<boolean>
  /** Whether it has the right to do something, whatever its token was made for. */
  hasRight(name: RepositoryName, action: Action): Promise<boolean>
  /** Whether it has the right to pull all of a domain, whatever its token was made for. */
  readsAll(domain: string): Promise<boolean>
  /** Whether it may do something everywhere. */
  mayEverywhere(action: Action): Promise<boolean>
}

/** Key of the permit among what belongs to a request. */
const PERMIT = Symbol('permit')

/** What a client may do; `undefined` where users aren't asked for, so that it may do everything. */
export function permitOf(ctx: Context): Permit | undefined {
  return (ctx as { [PERMIT]?: Permit })[PERMIT]
}

/** Notes what a client may do. */
export function setPermit(ctx: Context, permit: Permit): void {
  ;(ctx as { [PERMIT]?: Permit })[PERMIT] = permit
}
