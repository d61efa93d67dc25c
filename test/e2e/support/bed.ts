/** What every end-to-end suite needs: a folder, things that run until its end, and an account of failures. */
import { join } from 'node:path'
import { type GatewayOptions, type SeawayGateway, startGateway } from './gateway.ts'
import { tempDir } from './process.ts'

/** A suite's folder and what runs in it. */
export interface Bed {
  /** The path of a folder of that name. */
  folder(name: string): string
  /** Stops it after the suite; what was kept last is stopped first. */
  keep<T extends { stop(): Promise<void> }>(handle: T): T
  /** Starts a gateway in the folder of that name and keeps it. The same name again is a restart. */
  gateway(name: string, options?: Partial<GatewayOptions>): Promise<SeawayGateway>
}

/**
 * Makes a {@link Bed} for the suite that calls it; it is taken down after the suite. When a test fails, the
 * end of every gateway's log is printed, since the folder goes away with the suite.
 */
export function useBed(name: string): Bed {
  const temp = tempDir(name)
  const running: { stop(): Promise<void> }[] = []
  const gateways = new Map<string, SeawayGateway>()
  const folder = (part: string): string => join(temp.path, part)
  const keep: Bed['keep'] = (handle) => {
    running.push(handle)
    return handle
  }

  afterEach(function () {
    if (this.currentTest?.state !== 'failed') return
    for (const [part, gateway] of gateways)
      console.error(`--- the end of what gateway ${part} said:\n${gateway.daemon.logTail(15)}`)
  })
  after(async function () {
    this.timeout(60_000)
    for (const handle of running.toReversed()) await handle.stop()
    await temp.remove()
  })

  return {
    folder,
    keep,
    async gateway(part, options = {}) {
      const gateway = keep(await startGateway({ dir: folder(part), ...options }))
      gateways.set(part, gateway)
      return gateway
    }
  }
}
