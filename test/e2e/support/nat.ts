/** A small internet: machines on a public network, and machines behind routers that translate addresses. */
import { randomBytes } from 'node:crypto'
import { run } from './process.ts'

/** One machine. */
export interface Machine {
  /** Its address as it sees it itself. */
  readonly ip: string
  /** Words in front of a command that run it there. */
  readonly prefix: readonly string[]
}

/** The machines, and what takes them down. */
export interface Internet {
  /** Machines with public addresses, 11.77.0.10 and on. */
  readonly open: readonly Machine[]
  /** Machines with private ones, each behind a router of its own: nobody can connect to them from outside. */
  readonly hidden: readonly Machine[]
  stop(): Promise<void>
}

/**
 * Makes it of network namespaces, a bridge, and Linux's own masquerading (each connection keeps its port where
 * that is free, and packets of connections that weren't begun inside are dropped: the common kind of router at
 * home). The public addresses are of a network that isn't reached from here, so no packet can leave the machine.
 * Needs root.
 *
 * @see https://netfilter.org/documentation/HOWTO/NAT-HOWTO-6.html
 */
export async function makeInternet(options: { open: number; hidden: number }): Promise<Internet> {
  const id = randomBytes(3).toString('hex')
  const hub = `sn${id}hub`
  const made: string[] = []
  const ip = (...args: string[]) => run('ip', args)
  const inside = (namespace: string, ...command: string[]) => ip('netns', 'exec', namespace, ...command)
  const stop = async () => {
    for (const name of made.toReversed()) await run('ip', ['netns', 'del', name], { allowFailure: true })
  }

  async function namespace(name: string): Promise<string> {
    await ip('netns', 'add', name)
    made.push(name)
    await ip('-n', name, 'link', 'set', 'lo', 'up')
    return name
  }

  /** Plugs a machine into the public network. */
  async function plug(name: string, address: string): Promise<void> {
    const port = `p${address.split('.').at(-1)}`
    await ip('-n', name, 'link', 'add', 'wan', 'type', 'veth', 'peer', 'name', port, 'netns', hub)
    await ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'wan')
    await ip('-n', name, 'link', 'set', 'wan', 'up')
    await ip('-n', hub, 'link', 'set', port, 'master', 'switch', 'up')
  }

  async function open(i: number): Promise<Machine> {
    const name = await namespace(`sn${id}o${i}`)
    const address = `11.77.0.${10 + i}`
    await plug(name, address)
    return { ip: address, prefix: ['ip', 'netns', 'exec', name] }
  }

  async function hidden(i: number): Promise<Machine> {
    const router = await namespace(`sn${id}r${i}`)
    const name = await namespace(`sn${id}h${i}`)
    const net = `192.168.${77 + i}`
    await plug(router, `11.77.0.${100 + i}`)
    await ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'lan', 'netns', router)
    await ip('-n', router, 'addr', 'add', `${net}.1/24`, 'dev', 'lan')
    await ip('-n', router, 'link', 'set', 'lan', 'up')
    await ip('-n', name, 'addr', 'add', `${net}.2/24`, 'dev', 'eth0')
    await ip('-n', name, 'link', 'set', 'eth0', 'up')
    await ip('-n', name, 'route', 'add', 'default', 'via', `${net}.1`)
    await inside(router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
    await inside(router, 'iptables', '-t', 'nat', '-A', 'POSTROUTING', '-o', 'wan', '-j', 'MASQUERADE')
    const begunInside = ['-m', 'conntrack', '--ctstate', 'ESTABLISHED,RELATED', '-j', 'ACCEPT']
    await inside(router, 'iptables', '-A', 'FORWARD', '-i', 'wan', ...begunInside)
    await inside(router, 'iptables', '-A', 'FORWARD', '-i', 'wan', '-j', 'DROP')
    await inside(router, 'iptables', '-A', 'INPUT', '-i', 'wan', ...begunInside)
    await inside(router, 'iptables', '-A', 'INPUT', '-i', 'wan', '-j', 'DROP')
    return { ip: `${net}.2`, prefix: ['ip', 'netns', 'exec', name] }
  }

  try {
    await namespace(hub)
    await ip('-n', hub, 'link', 'add', 'switch', 'type', 'bridge')
    await ip('-n', hub, 'link', 'set', 'switch', 'up')
    const machines: Internet = { open: [], hidden: [], stop }
    for (let i = 0; i < options.open; i++) (machines.open as Machine[]).push(await open(i))
    for (let i = 0; i < options.hidden; i++) (machines.hidden as Machine[]).push(await hidden(i))
    return machines
  } catch (error) {
    await stop()
    throw error
  }
}
