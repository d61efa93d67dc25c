/**
 * The one error table. Every refusal that can reach a client is a row here; rooms throw a
 * {@link RegistryError} by code and `http/errors.ts` alone turns it into an answer.
 *
 * The first block is OCI Distribution 1.1
 * (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes); the second is
 * what a gateway needs beyond it, with codes that Docker's own registry uses where it has them.
 */
export const ERRORS = {
  BLOB_UNKNOWN: { status: 404, meaning: 'the repository has no such blob' },
  BLOB_UPLOAD_INVALID: { status: 400, meaning: 'the upload cannot go on as asked' },
  BLOB_UPLOAD_UNKNOWN: { status: 404, meaning: 'no such upload is in progress here' },
  DIGEST_INVALID: { status: 400, meaning: 'the digest is malformed or is not that of the content' },
  MANIFEST_BLOB_UNKNOWN: { status: 404, meaning: 'the manifest names content that the repository lacks' },
  MANIFEST_INVALID: { status: 400, meaning: 'the manifest is not one that the registry can keep' },
  MANIFEST_UNKNOWN: { status: 404, meaning: 'the repository has no such manifest' },
  NAME_INVALID: { status: 400, meaning: 'the repository name is not valid' },
  NAME_UNKNOWN: { status: 404, meaning: 'no such repository is known' },
  SIZE_INVALID: { status: 400, meaning: 'the stated length is not that of the content' },
  UNAUTHORIZED: { status: 401, meaning: 'log in first' },
  DENIED: { status: 403, meaning: 'this is not allowed' },
  UNSUPPORTED: { status: 405, meaning: 'this operation is not supported' },
  TOOMANYREQUESTS: { status: 429, meaning: 'too many requests; wait and try again' },

  TAG_INVALID: { status: 400, meaning: 'the tag is not valid' },
  PAGINATION_NUMBER_INVALID: { status: 400, meaning: 'the page size is not a number in range' },
  RANGE_INVALID: { status: 416, meaning: 'the range cannot be satisfied' },
  REQUEST_INVALID: { status: 400, meaning: 'the request is malformed' },
  REQUEST_TIMEOUT: { status: 408, meaning: 'the request did not arrive in time' },
  REQUEST_TOO_LARGE: { status: 413, meaning: 'the request body is larger than is allowed' },
  UNAVAILABLE: { status: 503, meaning: 'this cannot be served at the moment' },
  SOURCE_FAILED: { status: 502, meaning: 'every source of the content failed' },
  SOURCE_TIMEOUT: { status: 504, meaning: 'no source answered within the deadline' },
  STORAGE_FULL: { status: 507, meaning: 'the disk is full' },
  UNKNOWN: { status: 500, meaning: 'something went wrong in the gateway; its log says what' }
} as const

/** A code of the error table. */
export type ErrorCode = keyof typeof ERRORS

/**
 * A refusal with a place in the error table.
 *
 * `message` is for the client: what happened and what to do. `cause` is for the operator's log and
 * never leaves the gateway. `status` differs from the table's only where the specification asks for
 * another one at that endpoint.
 */
export class RegistryError extends Error {
  override readonly name = 'RegistryError'
  readonly code: ErrorCode
  readonly status: number
  readonly detail: unknown
  readonly headers: Record<string, string>

  constructor(
    code: ErrorCode,
    message: string,
    options: { detail?: unknown; cause?: unknown; status?: number; headers?: Record<string, string> } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status ?? ERRORS[code].status
    this.detail = options.detail
    this.headers = options.headers ?? {}
  }
}

/** Whether `error` is what an aborted signal makes of a pending call. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError')
}

/** The text of anything thrown, for a log line or a message. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
