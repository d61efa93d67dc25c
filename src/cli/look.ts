import { type Config, ConfigError } from '../config.ts'
import { reason } from '../oci/errors.ts'
import type {
  Cursor,
  ImagesPage,
  ImagesQuery,
  Inspection,
  InspectQuery,
  SourceName
} from '../registry/index.ts'
import type { SourceChanges } from '../registry/look-compare.ts'
import { parseImage, parseRepositoryAt, parseSource } from '../registry/source-name.ts'
import type { RegistrySource } from '../registry/source-registry.ts'
import type { Call, CommandContext, CommandOption, Operations } from './command.ts'
import { loginFile } from './logins.ts'

/** Looking at images wherever they are: trees through the gateway, or alone; other registries from here. */
export interface Look {
  images(source: SourceName, query: ImagesQuery, after: Cursor | undefined): Promise<ImagesPage>
  inspect(source: SourceName, query: InspectQuery): Promise<Inspection>
  /** Of trees alone. */
  changes(before: SourceName, after: SourceName, limit: number): Promise<SourceChanges>
}

/** The option that says where. */
export const IN: CommandOption = {
  flags: '--in <source>',
  about:
    'where to look: a domain (what it publishes), DOMAIN@N, a root CID, an IPNS name, or the URL of a registry or gateway'
}

/**
 * Runs `work` with what its sources need: the data folder is opened, and the gateway asked, only where one of them is
 * not another registry.
 */
export async function look<T>(
  context: Pick<CommandContext, 'alone' | 'config' | 'operate'>,
  sources: readonly SourceName[],
  work: (look: Look, call: Call) => Promise<T>
): Promise<T> {
  const { config } = context
  const opened = new Map<string, RegistrySource>()
  const withRegistries = async (operations: Operations | undefined, call: Call): Promise<T> => {
    const far = sources.some(({ kind }) => kind === 'registry') ? await registries(opened, config) : undefined
    const trees = (): Operations => {
      if (operations === undefined) throw new TypeError('no source is a tree')
      return operations
    }
    const { signal } = call
    return work(
      {
        images: async (source, query, after) =>
          source.kind === 'registry' && far !== undefined
            ? far.images(source, query, after, signal)
            : trees().images({ source, query, ...(after !== undefined && { after }) }, call),
        inspect: async (source, query) =>
          source.kind === 'registry' && far !== undefined
            ? far.inspect(source, query, signal)
            : trees().inspect({ source, query }, call),
        changes: (before, after, limit) => trees().changes({ before, after, limit }, call)
      },
      call
    )
  }
  try {
    if (sources.every(({ kind }) => kind === 'registry'))
      return await context.alone((call) => withRegistries(undefined, call))
    return await context.operate(withRegistries)
  } finally {
    for (const registry of opened.values()) registry.stop()
  }
}

/** Loaded only where one is looked at: it is most of what would have to be loaded. */
async function registries(opened: Map<string, RegistrySource>, config: Config) {
  const [{ createLooking }, { openRegistrySource }] = await Promise.all([
    import('../registry/look.ts'),
    import('../registry/source-registry.ts')
  ])
  const { pullTimeout: deadlineMs, proxies, trustedCa: ca } = config
  const auth = loginFile(config)
  return createLooking(async (source) => {
    if (source.kind !== 'registry') throw new TypeError('it is no registry')
    const key = `${source.url}/${source.path}`
    const known =
      opened.get(key) ??
      openRegistrySource(source, { auth, timeoutMs: Math.min(deadlineMs, ANSWER_MS), proxies, ca })
    opened.set(key, known)
    return known
  }, deadlineMs)
}

/** How long a registry may take to begin an answer, in milliseconds. */
const ANSWER_MS = 20_000

/** The source that `--in` names. @throws {ConfigError} */
export function sourceOf(text: unknown): SourceName | undefined {
  return typeof text === 'string' ? usage(() => parseSource(text)) : undefined
}

/** An image, perhaps in a source that `--in` names. @throws {ConfigError} */
export const imageOf = (text: string, source?: SourceName) => usage(() => parseImage(text, source))

/** A repository likewise. @throws {ConfigError} */
export const repositoryOf = (text: string, source?: SourceName) =>
  usage(() => parseRepositoryAt(text, source))

/** What can't be read on the command line is bad usage. */
export function usage<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new ConfigError(reason(error), { cause: error })
  }
}
