/** Which multiaddrs are those of this gateway: they end in its peer id, wherever they lead. */

const peerOf = (address: string): string | undefined => address.split('/p2p/').at(-1)

/** Those of `named` that name one of the peers of `own`, current or not. */
export function namingSame(named: readonly string[], own: readonly string[]): string[] {
  const peers = new Set(own.map(peerOf))
  return named.filter((address) => peers.has(peerOf(address)))
}

/** Whether both hold the same, in any order. */
export function sameAddresses(some: readonly string[], others: readonly string[]): boolean {
  return some.toSorted().join() === others.toSorted().join()
}
