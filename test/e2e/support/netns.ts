/** Machines on one switch, each behind a link of its own speed: network namespaces, veth pairs and tbf. */
import { randomBytes } from 'node:crypto'
import { run } from './process.ts'

/** One machine. */
export interface Host {
  /** The name of its network namespace. */
  readonly namespace: string
  /** Its address on the switch. */
  readonly ip: string
  /** Bytes that went over its link so far, headers included. */
  counters(): Promise<{ sent: number; received: number }>
}

/** The switch and what is plugged into it. */
export interface Lan {
  readonly hosts: readonly Host[]
  /** Unplugs everything and forgets it. */
  stop(): Promise<void>
}

/** The words in front of a command that run it on that machine. */
export function on(host: Host): string[] {
  return ['ip', 'netns', 'exec', host.namespace]
}

/**
 * Makes `count` machines whose links carry `mbit` megabits a second in each direction (token buckets at both
 * ends of the cable, since each end shapes what it sends). Needs root; touches no interface that was there.
 *
 * @see https://man7.org/linux/man-pages/man8/tc-tbf.8.html
 */
export async function makeLan(options: { count: number; mbit: number }): Promise<Lan> {
  const id = randomBytes(3).toString('hex')
  const hub = `sw${id}hub`
  const names = Array.from({ length: options.count }, (_, i) => `sw${id}h${i}`)
  const ip = (...args: string[]) => run('ip', args)
  const shape = (namespace: string, device: string) => {
    const rate = ['rate', `${options.mbit}mbit`, 'burst', '256kb', 'latency', '50ms']
    return run('tc', ['-n', namespace, 'qdisc', 'add', 'dev', device, 'root', 'tbf', ...rate])
  }
  const stop = async () => {
    for (const name of [...names, hub]) await run('ip', ['netns', 'del', name], { allowFailure: true })
  }

  try {
    await ip('netns', 'add', hub)
    await ip('-n', hub, 'link', 'add', 'switch', 'type', 'bridge')
    await ip('-n', hub, 'link', 'set', 'switch', 'up')
    for (const [i, name] of names.entries()) {
      await ip('netns', 'add', name)
      await ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `port${i}`, 'netns', hub)
      await ip('-n', name, 'addr', 'add', `10.77.0.${i + 1}/24`, 'dev', 'eth0')
      await ip('-n', name, 'link', 'set', 'lo', 'up')
      await ip('-n', name, 'link', 'set', 'eth0', 'up')
      await ip('-n', hub, 'link', 'set', `port${i}`, 'master', 'switch', 'up')
      await shape(name, 'eth0')
      await shape(hub, `port${i}`)
    }
  } catch (error) {
    await stop()
    throw error
  }

  return {
    hosts: names.map((namespace, i) => ({
      namespace,
      ip: `10.77.0.${i + 1}`,
      async counters() {
        const { stdout } = await ip('-n', namespace, '-s', '-j', 'link', 'show', 'eth0')
        const [link] = JSON.parse(stdout) as [{ stats64: Record<'rx' | 'tx', { bytes: number }> }]
        return { sent: link.stats64.tx.bytes, received: link.stats64.rx.bytes }
      }
    })),
    stop
  }
}
