import { readFile, writeFile } from 'node:fs/promises'
import { ConfigError } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { parseDomain } from '../oci/reference.ts'
import type { Call, Command, Operations } from './command.ts'
import { formatJson, formatTable } from './terminal.ts'

const ACTIONS = ['list', 'create', 'export', 'import', 'rotate'] as const
const MAX_KEY_FILE = 64 * 1024

/** `seaway key ACTION [DOMAIN] [FILE]` */
export const key: Command = {
  name: 'key',
  arguments: '<action> [domain] [file]',
  words: ACTIONS,
  summary: 'manages the IPNS keys of domains: list, create, export, import, rotate',
  examples: [
    ['seaway key list', 'the domains that have one, and the names'],
    ['seaway key create example.com', 'publish --ipns does that too'],
    ['seaway key export example.com example.key', "as 'ipfs key import' takes it; --pem for PKCS#8"],
    ['seaway key import example.com example.key', 'so that a second gateway publishes the same name'],
    ['seaway key rotate example.com', 'a new name, to which the old one leads']
  ],
  json: true,
  options: [{ flags: '--pem', about: 'export as PKCS#8 in PEM' }],
  async run({ operate, print, screen }, [action = '', given, file], options) {
    if (!(ACTIONS as readonly string[]).includes(action))
      throw new ConfigError(`'${action}' is no action; ${ACTIONS.join(', ')} are`)
    const json = options.json === true
    if (action === 'list') {
      const keys = await operate((operations, call) => operations.keys({}, call))
      if (json) print(formatJson(keys))
      else {
        const rows = keys.map(({ domain, name, retired }) => [domain, name, retired ? 'retired' : ''])
        for (const line of formatTable(['DOMAIN', 'NAME', ''], rows, [], screen)) print(line)
      }
      return
    }
    if (given === undefined) throw new ConfigError(`key ${action} needs a domain`)
    const domain = parseDomain(given)
    const show = (value: object, lines: readonly string[]): void => {
      if (json) print(formatJson(value))
      else for (const line of lines) print(line)
    }
    if (action === 'create' || action === 'import') {
      const bytes = action === 'import' ? await read(file) : undefined
      const made = await operate((operations: Operations, call: Call) =>
        bytes === undefined
          ? operations.createKey({ domain }, call)
          : operations.importKey({ domain, key: bytes.toString('base64') }, call)
      )
      show(made, [`${made.domain} has the IPNS name ${made.name}`])
    } else if (action === 'export') {
      if (file === undefined) throw new ConfigError('key export needs a file to write to')
      const format = options['pem'] === true ? 'pem' : 'libp2p'
      const { key: text } = await operate((operations, call) =>
        operations.exportKey({ domain, format }, call)
      )
      await write(file, Buffer.from(text, 'base64'))
      show({ domain, file }, [`the key of ${domain} is in ${file}: whoever has it can publish the domain`])
    } else {
      const rotated = await operate((operations, call) => operations.rotateKey({ domain }, call))
      show(rotated, [
        `${domain} has the new IPNS name ${rotated.now.name}; the old one, ${rotated.old.name}, leads there`,
        `run 'seaway publish ${domain} --ipns' to change its dnslink record`
      ])
    }
  }
}

async function read(file: string | undefined): Promise<Buffer> {
  if (file === undefined) throw new ConfigError('key import needs the file with the key')
  try {
    const bytes = await readFile(file)
    if (bytes.length > MAX_KEY_FILE) throw new Error(`it has ${bytes.length} bytes, which no key has`)
    return bytes
  } catch (error) {
    throw new RegistryError('REQUEST_INVALID', `the key file ${file} cannot be read: ${reason(error)}`, {
      cause: error
    })
  }
}

/** Never over another file, and readable to nobody else. */
async function write(file: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeFile(file, bytes, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    throw new RegistryError('UNAVAILABLE', `the key cannot be written to ${file}: ${reason(error)}`, {
      cause: error
    })
  }
}
