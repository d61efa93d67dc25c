import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { createPolicy } from '../ipfs/policy.ts'
import { createCredentials } from '../upstream/credentials.ts'
import { createTokens, type Tokens } from '../upstream/tokens.ts'
import type { Wire } from '../upstream/wire.ts'

/** The file in which `docker login` keeps what registries know the user by; `undefined` where there is none. */
export function loginFile({ dockerConfig }: Pick<Config, 'dockerConfig'>): string | undefined {
  const file = join(dockerConfig, 'config.json')
  return existsSync(file) ? file : undefined
}

/**
 * What a registry is shown: the login of docker's `config.json`, or the token that it leads to.
 *
 * @param names what the registry is called there
 */
export function createLogin(
  config: Config,
  url: URL,
  names: readonly string[],
  timeoutMs: number
): { readonly tokens: Tokens; close(): void } {
  const file = loginFile(config)
  const credentials = file === undefined ? undefined : createCredentials(file)
  // loaded late because only those who are asked for a login need it
  let opened: Promise<Wire> | undefined
  const open = () =>
    (opened ??= (async () => {
      const [{ createDispatchers }, { createWire }] = await Promise.all([
        import('../upstream/dispatch.ts'),
        import('../upstream/wire.ts')
      ])
      const policy = createPolicy('any')
      const dispatchers = createDispatchers({ ca: undefined, timeoutMs, policy, proxies: config.proxies })
      return createWire({ dispatchers, timeoutMs, trusted: new Set([url.hostname]), policy })
    })())
  const wire: Wire = {
    send: async (ask) => (await open()).send(ask),
    read: async (reply, limit) => (await open()).read(reply, limit),
    async *chunks(reply) {
      yield* (await open()).chunks(reply)
    },
    close() {
      void opened?.then((one) => one.close())
    }
  }
  const credential = async (signal: AbortSignal) => credentials?.find(names, signal)
  return { tokens: createTokens({ wire, home: url, credential }), close: () => wire.close() }
}
