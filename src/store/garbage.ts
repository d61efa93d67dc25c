import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** How much of it is let be, in bytes. V8 marks the whole heap each time that 64 MiB of it, with all copies, have gathered. */
const MOST = 8 * 1024 * 1024

let made = 0
let collect: ((options: { type: 'minor' }) => void) | undefined

/**
 * Says that `bytes` came in buffers that are done with soon: those that node makes for each read of a socket. The
 * collector of young objects does not see how large they are, and hardly ever runs for their sake; the one of all
 * objects does, and runs for nothing else while content streams by: without this, a pull over libp2p takes half as long again, and
 * fifty megabytes more.
 *
 * Collecting the young ones takes some 3 ms. Only the main thread's are collected.
 */
export function garbage(bytes: number): void {
  made += bytes
  if (made < MOST) return
  made = 0
  collect ??= collector()
  collect({ type: 'minor' })
}

/** V8 hands its own out to contexts that are made while the flag is set. @see https://nodejs.org/api/cli.html#--expose-gc */
function collector(): NonNullable<typeof collect> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as NonNullable<typeof collect>
  setFlagsFromString('--no-expose-gc')
  return gc
}
