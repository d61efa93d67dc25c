import type { Context } from 'koa'
import type { Credentials } from '../auth/index.ts'
import { RegistryError } from '../oci/errors.ts'

/** The longest header that is looked into, in characters. */
const MAX_HEADER = 16 * 1024

/**
 * What a request's Authorization header shows. `Basic Og==`, which skopeo sends without credentials, is none.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7617 and https://www.rfc-editor.org/rfc/rfc6750
 * @throws {RegistryError} UNAUTHORIZED when it is malformed or of another scheme
 */
export function credentialsOf(ctx: Context): Credentials {
  const header = ctx.get('Authorization').trim()
  if (header === '') return { kind: 'none' }
  const [, scheme = '', rest = ''] =
    header.length > MAX_HEADER ? [] : (/^([A-Za-z]+) +([A-Za-z0-9._~+/=-]*)$/.exec(header) ?? [])
  switch (scheme.toLowerCase()) {
    case 'basic': {
      const text = Buffer.from(rest, 'base64').toString()
      const colon = text.indexOf(':')
      if (text === ':') return { kind: 'none' }
      if (colon < 0) break
      return { kind: 'password', user: text.slice(0, colon), password: text.slice(colon + 1) }
    }
    case 'bearer':
      if (rest !== '') return { kind: 'bearer', token: rest }
  }
  throw new RegistryError(
    'UNAUTHORIZED',
    'the Authorization header is neither Basic nor Bearer, or is malformed'
  )
}

/** Whom the credentials of a request name, proven or not: for the audit log. */
export function claimedBy(ctx: Context): string {
  try {
    const credentials = credentialsOf(ctx)
    if (credentials.kind === 'none') return 'anonymous'
    return credentials.kind === 'password' ? credentials.user : 'unknown'
  } catch {
    return 'unknown'
  }
}
