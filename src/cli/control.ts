import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { ERRORS, type ErrorCode, RegistryError, reason } from '../oci/errors.ts'
import type { Call, Operations, Progress } from './command.ts'

// An import reads all that the module has, and what it has of browsers takes a tenth of a start.
const { createServer, request } = process.getBuiltinModule('node:http')

/** The longest path that a Unix socket can have on every platform, in bytes. */
const MAX_SOCKET_PATH = 100

/** How often a gateway that is at work says so, and how long a command waits for a word of it, in milliseconds. */
const HEARTBEAT = 5000
const SILENCE = 60_000

/** The longest line that either side takes, in bytes. */
const MAX_LINE = 64 * 1024 * 1024

/** What is asked of the registry rather than of the operations. */
const CONTENT = /^\/(?:v2|ipfs)(?:\/|$)/

/** One line of an answer: any number of reports, empty ones while nothing changes, then how it ended. */
type Line =
  | { readonly progress?: Progress }
  | { readonly result: unknown }
  | { readonly error: { readonly code: string; readonly message: string } }

/** Where the control socket of a data folder is: in it, or, if that path is too long for a socket, in the temporary folder. */
export function controlPath(data: string): string {
  const path = join(data, 'control.sock')
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path
  return join(tmpdir(), `seaway-${createHash('sha256').update(path).digest('hex').slice(0, 20)}.sock`)
}

/**
 * Offers the operations on the control socket: `POST /<operation>` with JSON arguments, answered by lines of
 * JSON. Whoever may open the data folder may use it. The data folder's owner calls this, so a socket file that
 * is there is stale.
 *
 * @param stopping aborted at shutdown: operations under way end then
 * @param registry what answers below `/v2/` and `/ipfs/`, for commands that move content; nobody logs in here
 */
export async function serveControl(
  path: string,
  operations: Operations,
  stopping: AbortSignal,
  registry?: Server
): Promise<{ stop(): Promise<void> }> {
  await rm(path, { force: true })
  // a push of many gigabytes takes its time
  const server = createServer({ requestTimeout: 0, highWaterMark: 256 * 1024 }, (req, res) => {
    if (registry !== undefined && CONTENT.test(req.url ?? '')) registry.emit('request', req, res)
    else void answer(operations, req, res, stopping)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // A group may have the data folder, but nobody else; what is in the temporary folder no folder keeps anybody from.
    const before = process.umask(0o177)
    try {
      if (dirname(path) !== tmpdir()) process.umask(before | 0o007)
      server.listen(path, resolve)
    } finally {
      process.umask(before)
    }
  })
  return {
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}

async function answer(
  operations: Operations,
  req: IncomingMessage,
  res: ServerResponse,
  stopping: AbortSignal
): Promise<void> {
  const gone = new AbortController()
  const stop = () => gone.abort(stopping.reason)
  stopping.addEventListener('abort', stop)
  res.once('close', () => gone.abort(new RegistryError('UNAVAILABLE', 'the command was interrupted')))
  const write = (line: Line) => {
    // Reports that a command is too slow to read are dropped: only the last ones count.
    if (!res.destroyed && (!('progress' in line) || !res.writableNeedDrain))
      res.write(`${JSON.stringify(line)}\n`)
  }
  const heart = setInterval(() => write({}), HEARTBEAT)
  try {
    write({})
    const operation = operationOf(operations, (req.url ?? '').slice(1))
    const args: unknown = JSON.parse(await textOf(req))
    write({
      result: await operation(args, { signal: gone.signal, progress: (progress) => write({ progress }) })
    })
  } catch (error) {
    const code = error instanceof RegistryError ? error.code : 'UNKNOWN'
    write({ error: { code, message: reason(error) } })
  } finally {
    clearInterval(heart)
    stopping.removeEventListener('abort', stop)
    res.end()
  }
}

function operationOf(operations: Operations, name: string): (args: unknown, call: Call) => Promise<unknown> {
  if (!Object.hasOwn(operations, name)) {
    throw new RegistryError(
      'UNSUPPORTED',
      `the running gateway has no operation '${name}': is it of another version?`
    )
  }
  return operations[name as keyof Operations] as (args: unknown, call: Call) => Promise<unknown>
}

async function textOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req) {
    size += (chunk as Buffer).length
    if (size > MAX_LINE) throw new RegistryError('REQUEST_TOO_LARGE', 'the arguments are too long')
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString()
}

/**
 * The operations of the gateway that runs on `path`; `undefined` when none does.
 *
 * @throws {RegistryError} DENIED where somebody else has put a socket there, to be told what commands say
 */
export async function connectControl(path: string): Promise<Operations | undefined> {
  checkOwner(path)
  try {
    // Any answer, even a refusal, shows that somebody is there.
    await post(path, '/', '{}', { signal: AbortSignal.timeout(SILENCE), progress: () => undefined })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined
    if (!(error instanceof RegistryError)) throw error
  }
  // Which operations there are is for the gateway to say; but this is no promise.
  return new Proxy({} as Operations, {
    get: (_, name) =>
      name === 'then'
        ? undefined
        : (args: unknown, call: Call) => post(path, `/${String(name)}`, JSON.stringify(args), call)
  })
}

/** A folder of one's own needs no such look, but the temporary folder is everybody's; root's word counts for all. */
function checkOwner(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  const own = process.getuid?.()
  if (found === undefined || own === undefined || found.uid === own || found.uid === 0) return
  const folder = statSync(dirname(path))
  if (found.uid === folder.uid && (folder.mode & 0o022) === 0) return
  throw new RegistryError(
    'DENIED',
    `the control socket ${path} belongs to another user: set a shorter SEAWAY_DATA`
  )
}

function post(socketPath: string, path: string, body: string, call: Call): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const { signal } = call
    const fail = (error: Error) => reject(signal.aborted ? signal.reason : error)
    const req = request({ socketPath, path, method: 'POST', timeout: SILENCE, signal }, (res) => {
      const lines = createInterface({ input: res, crlfDelay: Number.POSITIVE_INFINITY })
      lines.on('line', (text) => {
        const line = JSON.parse(text) as Line
        if ('result' in line) resolve(line.result)
        else if ('error' in line) reject(refusal(line.error))
        else if (line.progress !== undefined) call.progress(line.progress)
      })
      const broken = (cause?: unknown) =>
        fail(new Error('the running gateway broke off; see its log', { cause }))
      res.on('error', broken)
      lines.on('error', broken)
      lines.on('close', () => broken())
    })
    req.on('timeout', () => req.destroy(new Error('the running gateway does not answer')))
    req.on('error', fail)
    req.end(body)
  })
}

function refusal({ code, message }: { code: string; message: string }): RegistryError {
  return new RegistryError(Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'UNKNOWN', message)
}
