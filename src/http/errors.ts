import type { Context, Next } from 'koa'
import type { Log } from '../log.ts'
import { type ErrorCode, isAbort, RegistryError, reason } from '../oci/errors.ts'
import { answerEarly } from './early.ts'

/** The body of every refusal. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes */
export interface ErrorBody {
  readonly errors: readonly {
    readonly code: ErrorCode
    readonly message: string
    readonly detail?: unknown
  }[]
}

/** The body that tells a client of `error`. */
export function errorBody({ code, message, detail }: RegistryError): ErrorBody {
  return { errors: [{ code, message, ...(detail === undefined ? {} : { detail }) }] }
}

/** What went wrong, as a row of the error table. */
export function asRegistryError(error: unknown): RegistryError {
  if (error instanceof RegistryError) return error
  if (isAbort(error)) {
    return new RegistryError(
      'SOURCE_TIMEOUT',
      'the content could not be found within the deadline; try again, or ask its publisher whether their gateway is up',
      {
        cause: error
      }
    )
  }
  if ((error as NodeJS.ErrnoException | null)?.code === 'ERR_INVALID_URL')
    return new RegistryError('REQUEST_INVALID', 'the request target is not a valid URL', { cause: error })
  if (error instanceof URIError)
    return new RegistryError('REQUEST_INVALID', 'the path has a malformed % escape', { cause: error })
  return new RegistryError('UNKNOWN', 'something went wrong in the gateway; its log says what', {
    cause: error
  })
}

/** Whether an error only says that the client went away, which is nobody's fault. */
export function isClientGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code
  return (
    code === 'ECONNRESET' ||
    code === 'EPIPE' ||
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    code === 'ERR_HTTP_REQUEST_ABORTED' ||
    code === 'ERR_HTTP2_INVALID_STREAM' ||
    code === 'ERR_HTTP2_STREAM_CANCEL'
  )
}

/** Turns whatever a handler throws into the answer of the specification and, where it is ours to mend, a line in the log. */
export function errorMiddleware(log: Log) {
  return async (ctx: Context, next: Next): Promise<void> => {
    try {
      await next()
      if (ctx.status === 404 && ctx.body === undefined)
        throw new RegistryError('UNSUPPORTED', `there is nothing at ${ctx.path}`, { status: 404 })
    } catch (thrown) {
      const error = asRegistryError(thrown)
      if (ctx.res.destroyed || isClientGone(thrown)) {
        log.debug({ method: ctx.method, url: ctx.url, cause: reason(thrown) }, 'the client went away')
        ctx.res.destroy()
        return
      }
      const line = {
        method: ctx.method,
        url: ctx.url,
        code: error.code,
        status: error.status,
        cause: reason(error.cause ?? error)
      }
      if (error.status >= 500)
        log.error(error.code === 'UNKNOWN' ? { ...line, err: error.cause } : line, error.message)
      else log.debug(line, error.message)
      ctx.status = error.status
      ctx.set(error.headers)
      ctx.body = errorBody(error)
      await answerEarly(ctx)
    }
  }
}
