import type { Operations } from './cli/index.ts'
import { RegistryError } from './oci/errors.ts'
import type { Rooms } from './rooms.ts'

/**
 * What commands can do, over the rooms of a gateway or of a command that works alone.
 *
 * @param host where clients on this machine reach it over plain HTTP, if they do
 */
export function operationsOf({ registry, provider }: Rooms, host?: string): Operations {
  return {
    address: async () => (host === undefined ? {} : { host }),
    async root({ domain: asked }) {
      const { domain, root } = await registry.history.resolve(asked)
      return { domain, root: root.toString() }
    },
    images: ({ source, query, after }, { signal }) => registry.looking.images(source, query, after, signal),
    inspect: ({ source, query }, { signal }) => registry.looking.inspect(source, query, signal),
    changes: ({ before, after, limit }, { signal }) => registry.looking.changes(before, after, limit, signal),
    complete: ({ prefix, kind }, { signal }) => registry.looking.complete(prefix, kind, signal),
    async provide({ now }, { signal, progress }) {
      if (!now) return provider.status()
      return provider.round({
        signal,
        progress: (done, total) => progress({ what: 'telling the network', done, total, unit: 'items' })
      })
    },
    usage: ({ name }, { signal, progress }) =>
      registry.usage(name, signal, (done) => progress({ what: 'repositories', done, unit: 'items' })),
    verify: ({ rate, restart }, { signal, progress }) =>
      registry.verification.run({ rate, restart }, signal, progress),
    gc: (args, call) => registry.collect({ ...args, ...call }),
    rm: (args, { signal }) => registry.images.remove(args, signal),
    history: ({ domain }, { signal }) => registry.historyLog.list(domain, signal),
    async restore({ domain, which }, { signal }) {
      const { root } = await registry.historyLog.restore(domain, which, signal)
      return { domain, root: root.toString() }
    },
    pins: () => registry.pins.list(),
    pin: ({ root }, { signal }) => registry.pins.add(root, signal),
    unpin: ({ root }) => registry.pins.remove(root),
    publish: (request, { signal, progress }) =>
      registry.publishing.publish(request, { signal, report: progress }),
    sync: (request, { signal }) => registry.sync(request, signal),
    async doctor(request, { signal, progress }) {
      if (registry.doctor === undefined) throw new RegistryError('UNSUPPORTED', 'there is no doctor here')
      return registry.doctor.examine(request, { signal, report: progress })
    },
    prefetch: (request, { signal, progress }) =>
      registry.prefetch(request, signal, (what, done, total) =>
        progress({ what, done, total, unit: 'bytes' })
      ),
    keys: () => namesOf(registry).keys(),
    createKey: ({ domain }) => namesOf(registry).createKey(domain),
    exportKey: ({ domain, format }) => namesOf(registry).exportKey(domain, format),
    importKey: ({ domain, key }) => namesOf(registry).importKey(domain, key),
    rotateKey: ({ domain }, { signal }) => namesOf(registry).rotateKey(domain, signal)
  }
}

/** IPNS, which a registry may be without. @throws {RegistryError} UNSUPPORTED */
function namesOf({ ipns }: Rooms['registry']): NonNullable<Rooms['registry']['ipns']> {
  if (ipns === undefined) throw new RegistryError('UNSUPPORTED', 'IPNS is not available here')
  return ipns
}
