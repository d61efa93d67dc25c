import type { Socket } from 'node:net'

/**
 * Cuts a connection, as a peer that is killed does. One that is being connected would wait for that first, and
 * nobody may answer any more; one that is ending already is only closed, too: node can't reset it, never
 * closes it then, and at the end of the process turns in a circle for want of that.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded || socket.connecting) socket.destroy()
  else socket.resetAndDestroy()
}
