import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Config, ConfigError, hasTls } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { BUILT_IN } from '../upstream/built-in.ts'
import type { Command } from './command.ts'
import { CLIENTS, type Target } from './setup-files.ts'
import { TRIED, tryable, tryImage } from './setup-try.ts'
import { formatJson } from './terminal.ts'

/** `seaway setup CLIENT` */
export const setup: Command = {
  name: 'setup',
  arguments: '<client>',
  words: Object.keys(CLIENTS),
  summary: `prints what makes a client pull through this gateway: ${Object.keys(CLIENTS).join(', ')}`,
  examples: [
    ['seaway setup podman', 'the file, and what else is to be done'],
    [
      'seaway setup containerd --write',
      'writes it, with a copy of what was there, and tries an image through the gateway'
    ],
    ['seaway setup podman --write --try quay.io/a/b:1', 'tries this one'],
    ['seaway setup k3s --at 10.0.0.5:5000', 'for a machine that reaches the gateway there'],
    ['seaway setup docker --write --file ~/daemon.json', 'into another file']
  ],
  json: true,
  options: [
    { flags: '--write', about: 'write the file' },
    { flags: '--file <path>', about: "instead of the client's usual one" },
    {
      flags: '--at <host:port>',
      about:
        'where the client reaches the gateway, https://HOST for one with TLS; where it listens, if not given'
    },
    { flags: '--try <image>', about: `what --write tries to get; ${TRIED} if not given` }
  ],
  async run({ config, print }, [client = ''], { json, write, file, at: given, try: image }) {
    const make = Object.hasOwn(CLIENTS, client) ? CLIENTS[client] : undefined
    if (make === undefined)
      throw new ConfigError(
        `'${client}' is no client that is known here; ${Object.keys(CLIENTS).join(', ')} are`
      )
    const target = targetOf(typeof given === 'string' ? given : listeningAt(config))
    const tried = tryable(typeof image === 'string' ? image : TRIED)
    const wanted = make({ ...target, domains: domainsOf(config) })
    const path = typeof file === 'string' ? file : wanted.path
    const before = await existing(path)
    let content: string
    try {
      content = wanted.content(before)
    } catch (error) {
      if (write === true)
        throw new RegistryError('UNAVAILABLE', `${path} was left as it is: ${reason(error)}`, {
          cause: error
        })
      content = wanted.content(undefined)
    }
    const backup = write === true ? await put(path, before, content) : undefined
    const outcome = write === true ? await tryImage(target, wanted, tried) : undefined
    if (json === true)
      print(
        formatJson({
          client,
          path,
          content,
          written: write === true,
          backup,
          afterwards: wanted.afterwards,
          tried: outcome
        })
      )
    else if (write === true) {
      print(`${path} is written${backup === undefined ? '' : `; what was there is in ${backup}`}`)
      for (const step of wanted.afterwards) print(`  then  ${step}`)
      if (outcome?.digest !== undefined) print(`${outcome.image} comes through it (${outcome.digest})`)
    } else {
      print(`# ${path}`)
      print(content.trimEnd())
      for (const step of wanted.afterwards) print(`# then: ${step}`)
    }
    if (outcome?.failure !== undefined)
      throw new RegistryError('UNAVAILABLE', `the file is written, but ${outcome.failure}`)
  }
}

/** Where a client is told to go. @throws {ConfigError} */
function targetOf(text: string): Pick<Target, 'at' | 'tls'> {
  const [, scheme, host, port] =
    /^(https?:\/\/)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?\/?$/.exec(text) ?? []
  const tls = scheme === 'https://'
  if (host === undefined || (port === undefined && !tls))
    throw new ConfigError(
      `'${text}' is not HOST:PORT, nor https://HOST; --at says where the client reaches the gateway`
    )
  return { at: `${host}${port ?? ''}`, tls }
}

/** Where the gateway can be reached on this machine; with TLS by a name, if it is known here what its certificate is for. */
function listeningAt(config: Config): string {
  const { listen, tlsAcmeDomains } = config
  if (hasTls(config) && tlsAcmeDomains[0] !== undefined)
    return `https://${tlsAcmeDomains[0]}${listen.port === 443 ? '' : `:${listen.port}`}`
  const anywhere = listen.host === '0.0.0.0' || listen.host === '::'
  const host = anywhere ? '127.0.0.1' : listen.host
  return `${hasTls(config) ? 'https://' : ''}${host.includes(':') ? `[${host}]` : host}:${listen.port}`
}

/** The domains that are pulled through, as they are set where this command runs. */
function domainsOf({ upstreams }: Config): string[] {
  const all = new Set([...BUILT_IN.map(({ domain }) => domain), ...upstreams.keys()])
  return [...all].filter((domain) => upstreams.get(domain)?.off !== true)
}

async function existing(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new RegistryError('UNAVAILABLE', `${path} cannot be read: ${reason(error)}`, { cause: error })
  }
}

/** Writes a file; what was there before, if it was anything else, is kept under a name of its own, which is returned. */
async function put(path: string, before: string | undefined, content: string): Promise<string | undefined> {
  if (before === content) return undefined
  try {
    await mkdir(dirname(path), { recursive: true })
    const stamp = new Date().toISOString().replaceAll(/[-:]|\..*/g, '')
    const backup = before === undefined ? undefined : `${path}.before-seaway-${stamp}`
    if (backup !== undefined) await copyFile(path, backup)
    await writeFile(path, content)
    return backup
  } catch (error) {
    throw new RegistryError('UNAVAILABLE', `${path} cannot be written: ${reason(error)}`, { cause: error })
  }
}
