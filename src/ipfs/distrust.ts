import type { Libp2p, PeerId } from '@libp2p/interface'
import type { Log } from '../log.ts'
import type { HealthBook } from './health.ts'

/** What is done about peers that do what no accident does. */
export interface Distrust {
  /** A source has sent something else than was asked for: it is named in the log, and asked last from now on. */
  lied(source: string, what: string): void
  /** The same over bitswap, where nobody but the peer itself can have done it: its connections are cut, too. */
  deceived(peer: PeerId, what: string): void
  /** A peer floods us: it is cut off, and neither dialled, asked nor listened to for a while. */
  flooded(peer: PeerId, what: string): void
  /** Whether that while isn't over. */
  barred(peer: PeerId): boolean
  /** Has `listener` told of every peer that is cut off for flooding. */
  watch(listener: (peer: PeerId, what: string) => void): void
}

/** Makes it; the node is asked for when it is needed. */
export function createDistrust(options: {
  libp2p: () => Pick<Libp2p, 'getConnections'>
  health: Pick<HealthBook, 'lied' | 'bar' | 'barredFor'>
  log: Log
}): Distrust {
  const { health, log } = options
  const listeners: ((peer: PeerId, what: string) => void)[] = []

  /** At once: what a peer still sends while a connection is closed in order would be read. */
  function cut(peer: PeerId, what: string): void {
    for (const connection of options.libp2p().getConnections(peer))
      connection.abort(new Error(`the peer ${what}`))
  }

  function lied(source: string, what: string): void {
    health.lied(source)
    log.error({ peer: source }, `a peer ${what}`)
  }

  const barred = (peer: PeerId) => health.barredFor(peer.toString()) > 0

  return {
    lied,
    barred,

    deceived(peer, what) {
      lied(peer.toString(), what)
      cut(peer, what)
    },

    flooded(peer, what) {
      if (barred(peer)) return
      const id = peer.toString()
      health.bar(id)
      log.error({ peer: id, forMs: health.barredFor(id) }, `a peer ${what}, and is left alone for a while`)
      for (const listener of listeners) listener(peer, what)
      cut(peer, what)
    },

    watch: (listener) => void listeners.push(listener)
  }
}
