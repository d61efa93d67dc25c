import { ConfigError } from '../config.ts'
import { RegistryError } from '../oci/errors.ts'

/** The longest secret that is read, in bytes. */
const MAX_SECRET = 64 * 1024

/**
 * A secret: typed at the terminal, where it isn't shown, or the first line of what stdin brings. Never from the command
 * line, which every user of the machine can read.
 *
 * @param again whether one that is typed must be typed twice
 * @throws {ConfigError} when there is none
 */
export async function readSecret(what: string, again = false): Promise<string> {
  if (!process.stdin.isTTY) return firstLine(await stdinText(), what)
  const secret = await typed(`${what}: `)
  if (secret === '') throw new ConfigError(`the ${what.toLowerCase()} is empty`)
  if (again && (await typed(`${what} again: `)) !== secret)
    throw new ConfigError(`what was typed the second time is another ${what.toLowerCase()}`)
  return secret
}

async function stdinText(): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of process.stdin) {
    size += (chunk as Buffer).length
    if (size > MAX_SECRET) throw new ConfigError('stdin brings more than any secret is long')
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString()
}

function firstLine(text: string, what: string): string {
  const [line = ''] = text.split(/\r?\n/)
  if (line === '') throw new ConfigError(`stdin brings no ${what.toLowerCase()}`)
  return line
}

/** Asks on stderr, for stdout belongs to results, and shows nothing of what is typed. */
function typed(prompt: string): Promise<string> {
  const { stdin, stderr } = process
  return new Promise((resolve, reject) => {
    let text = ''
    const end = () => {
      stdin.off('data', onData)
      stdin.setRawMode(false)
      stdin.pause()
      stderr.write('\n')
    }
    const onData = (chunk: string) => {
      for (const char of chunk) {
        if (char === '\r' || char === '\n' || char === '\u0004') {
          end()
          resolve(text)
          return
        }
        if (char === '\u0003') {
          end()
          reject(new RegistryError('UNAVAILABLE', 'interrupted'))
          return
        }
        text = char === '\u007f' || char === '\b' ? text.slice(0, -1) : text + char
      }
    }
    // first, so that nothing that is typed early is shown
    stdin.setRawMode(true)
    stderr.write(prompt)
    stdin.setEncoding('utf8')
    stdin.resume()
    stdin.on('data', onData)
  })
}
