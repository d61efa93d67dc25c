/** Starts `bad-peer.ts`: peers that misbehave, in a process of their own. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Address, BadPeer, Stats } from './bad-peer.ts'
import { type Daemon, spawnDaemon } from './daemon.ts'

export type { BadPeer, Behaviour } from './bad-peer.ts'

const PROGRAM = fileURLToPath(new URL('bad-peer.ts', import.meta.url))

/** A process of peers. */
export interface BadPeers {
  /** In the order in which they were asked for. */
  readonly peers: readonly { multiaddr: string; stats(): Promise<Stats> }[]
  readonly daemon: Daemon
  stop(): Promise<void>
}

/** Starts them and resolves when they listen. */
export async function startBadPeers(dir: string, peers: readonly BadPeer[]): Promise<BadPeers> {
  await mkdir(dir, { recursive: true })
  const file = join(dir, 'peers.json')
  const wanted = peers.map(({ car, target, transport, behaviour }) => ({ car, target, transport, behaviour }))
  await writeFile(file, JSON.stringify(wanted))
  const line = async (): Promise<string | undefined> =>
    (await readFile(join(dir, 'bad-peers.log'), 'utf8')).split('\n').find((each) => each.startsWith('[{'))
  const daemon = await spawnDaemon({
    name: 'bad-peers',
    command: process.execPath,
    args: [PROGRAM, file],
    dir,
    deadline: 200_000,
    ready: async () => (await line()) !== undefined
  })
  const addresses = JSON.parse((await line()) ?? '[]') as Address[]
  return {
    peers: addresses.map(({ multiaddr, stats }) => ({
      multiaddr,
      stats: async () => (await (await fetch(stats)).json()) as Stats
    })),
    daemon,
    stop: () => daemon.stop()
  }
}
