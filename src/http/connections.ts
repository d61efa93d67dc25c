import type { Server } from 'node:net'
import { networkOf } from '../ipfs/addresses.ts'

/**
 * Closes connections as they come: beyond `max`, or beyond `perAddress` of one client address (of IPv6, of one /64).
 * Addresses that are `exempt` are of proxies, and so of many clients.
 */
export function limitConnections(
  server: Server,
  limits: {
    max?: number | undefined
    perAddress?: number | undefined
    exempt?: ((address: string) => boolean) | undefined
  }
): void {
  const { max, perAddress, exempt = () => false } = limits
  if (max !== undefined) server.maxConnections = max
  if (perAddress === undefined) return
  const open = new Map<string, number>()
  server.on('connection', (socket) => {
    const from = socket.remoteAddress ?? ''
    if (exempt(from)) return
    const client = networkOf(from)
    const count = open.get(client) ?? 0
    if (count >= perAddress) {
      socket.destroy()
      return
    }
    open.set(client, count + 1)
    socket.once('close', () => {
      const rest = (open.get(client) ?? 0) - 1
      if (rest > 0) open.set(client, rest)
      else open.delete(client)
    })
  })
}
