import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { RegistryError, reason } from '../oci/errors.ts'

/** What a registry knows us by: a user with a password, or a token that tokens are made from. */
export type Credential =
  | { readonly user: string; readonly password: string }
  | { readonly identityToken: string }

/** Credentials by the names of registries. */
export interface Credentials {
  /**
   * Those for the first of `names` that has any.
   *
   * @throws {RegistryError} UNAVAILABLE when a file or a helper can't be read
   */
  find(names: readonly string[], signal: AbortSignal): Promise<Credential | undefined>
}

/** How long a helper may take, in milliseconds, and how much it may print. */
const HELPER_MS = 10_000
const MAX_HELPER = 64 * 1024

/** How long what was read is used again, in milliseconds: a file may be changed while the gateway runs. */
const KEEP_MS = 30_000

/** What a helper calls the user whose password is an identity token. */
const TOKEN_USER = '<token>'

interface DockerConfig {
  readonly auths?: Record<
    string,
    { auth?: string; username?: string; password?: string; identitytoken?: string }
  >
  readonly credHelpers?: Record<string, string>
  readonly credsStore?: string
}

/**
 * Credentials out of a file: one line `user:password`, for whatever the file was named for, or a docker
 * `config.json` with its credential helpers (`docker-credential-<name>` on the PATH).
 *
 * @see https://docs.docker.com/reference/cli/docker/login/#credential-stores
 */
export function createCredentials(file: string): Credentials {
  let read: { at: number; text: Promise<string> } | undefined

  function textOf(): Promise<string> {
    if (read === undefined || performance.now() - read.at > KEEP_MS)
      read = { at: performance.now(), text: readFile(file, 'utf8') }
    return read.text
  }

  return {
    async find(names, signal) {
      const text = (await textOf().catch(unusable(file))).trim()
      if (!text.startsWith('{')) return userOf(text)
      let config: DockerConfig
      try {
        config = JSON.parse(text) as DockerConfig
      } catch (error) {
        return unusable(file)(error)
      }
      for (const name of names) {
        const helper = config.credHelpers?.[name]
        if (helper !== undefined) return fromHelper(helper, name, signal)
        const entry = config.auths?.[name]
        const { auth, username, password, identitytoken } = entry ?? {}
        if (identitytoken !== undefined && identitytoken !== '') return { identityToken: identitytoken }
        if (auth !== undefined && auth !== '') return userOf(Buffer.from(auth, 'base64').toString())
        if (username !== undefined && password !== undefined) return { user: username, password }
      }
      const { credsStore } = config
      if (credsStore === undefined || credsStore === '') return undefined
      for (const name of names) {
        const found = await fromHelper(credsStore, name, signal)
        if (found !== undefined) return found
      }
      return undefined
    }
  }
}

function userOf(line: string): Credential {
  const colon = line.indexOf(':')
  if (colon < 1 || line.includes('\n'))
    throw new RegistryError('UNAVAILABLE', 'credentials of an upstream are not one line user:password')
  return { user: line.slice(0, colon), password: line.slice(colon + 1) }
}

/** Whoever asks is a client, who needn't hear of the operator's files; the log says more. */
function unusable(file: string): (error: unknown) => never {
  return (error) => {
    throw new RegistryError(
      'UNAVAILABLE',
      "the gateway's credentials for this registry cannot be read; its log says why",
      { cause: new Error(`${file}: ${reason(error)}`, { cause: error }) }
    )
  }
}

/** @see https://github.com/docker/docker-credential-helpers#development */
async function fromHelper(
  helper: string,
  name: string,
  signal: AbortSignal
): Promise<Credential | undefined> {
  const program = `docker-credential-${helper}`
  try {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(helper)) throw new Error(`'${helper}' is no name of a helper`)
    const { status, output } = await run(program, ['get'], name, signal)
    if (status !== 0) {
      if (/credentials not found/i.test(output)) return undefined
      throw new Error(`it ended with ${status}: ${output.trim().slice(0, 200)}`)
    }
    const { Username: user, Secret: password } = JSON.parse(output) as { Username?: string; Secret?: string }
    if (typeof user !== 'string' || typeof password !== 'string') throw new Error('it printed no credentials')
    return user === TOKEN_USER ? { identityToken: password } : { user, password }
  } catch (error) {
    signal.throwIfAborted()
    return unusable(program)(error)
  }
}

function run(
  program: string,
  args: readonly string[],
  input: string,
  signal: AbortSignal
): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const within = AbortSignal.any([signal, AbortSignal.timeout(HELPER_MS)])
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      signal: within,
      killSignal: 'SIGKILL'
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.length > MAX_HELPER) child.kill('SIGKILL')
    })
    child.once('error', reject)
    child.once('close', (status) => resolve({ status, output }))
    child.stdin.on('error', () => undefined) // one that doesn't read what it is told
    child.stdin.end(`${name(input)}\n`)
  })
}

/** One line, whatever it holds. */
const name = (text: string): string => text.replace(/[\r\n]/g, '')
