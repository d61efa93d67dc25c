import type { Credential } from './credentials.ts'

/** Finds the credentials for a server, if there are any. */
export type Login = (signal: AbortSignal) => Promise<Credential | undefined>

/** How long an answer holds, in milliseconds: helpers are programs that take their time. */
const KEEP_MS = 30_000

/**
 * Whether what an upstream has is for those who may log in there. That cannot be asked for: a registry that gets
 * credentials doesn't say whether it would have answered without. So it is taken for private as soon as there are any
 * for one of its servers, or they can't be read.
 *
 * @returns what throws the signal's reason, nothing else
 */
export function createPrivacy(logins: readonly Login[]): (signal: AbortSignal) => Promise<boolean> {
  let known: { readonly isPrivate: boolean; readonly until: number } | undefined

  return async (signal) => {
    if (known !== undefined && known.until > performance.now()) return known.isPrivate
    const found = await Promise.allSettled(logins.map((login) => login(signal)))
    signal.throwIfAborted()
    const isPrivate = found.some((one) => one.status === 'rejected' || one.value !== undefined)
    known = { isPrivate, until: performance.now() + KEEP_MS }
    return isPrivate
  }
}
