/**
 * A link of 100 MB/s and 50 ms round trip, for `bench-transfer.ts`: a network namespace behind a `veth` pair
 * whose way in is held to the rate by `tc tbf`, and in it a proxy that holds every byte back for half of the
 * round trip, each way. (The kernel that this was written for has no netem.)
 *
 * Whoever is to be reached listens on {@link HOST}; through the link it is at the proxy's address.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'

/** The rate in bytes a second, and the round trip in milliseconds. */
export const RATE = 100e6
export const ROUND_TRIP = 50

const NAMESPACE = `seaway-bench-${process.pid}`
const NEAR = `swb${process.pid % 100_000}`
const FAR = `${NEAR}p`

/** The near end's address, and the far one's. */
export const HOST = '10.199.77.1'
const PROXY = '10.199.77.2'

/** The link while it stands. */
export interface Link {
  /** The address behind the link of what listens on {@link HOST} at `port`. */
  through(port: number): Promise<{ host: string; port: number }>
  stop(): Promise<void>
}

const sh = (line: string) => execFileSync('sh', ['-ec', line], { stdio: ['ignore', 'ignore', 'pipe'] })

/** Lays the link; throws where namespaces or `tc` can't be had. */
export function startLink(): Link {
  const children: ChildProcess[] = []
  const remove = () =>
    sh(`ip link del ${NEAR} 2>/dev/null || true; ip netns del ${NAMESPACE} 2>/dev/null || true`)
  remove()
  try {
    sh(`ip netns add ${NAMESPACE}
      ip link add ${NEAR} type veth peer name ${FAR} netns ${NAMESPACE}
      ip addr add ${HOST}/30 dev ${NEAR}
      ip link set ${NEAR} up
      ip -n ${NAMESPACE} addr add ${PROXY}/30 dev ${FAR}
      ip -n ${NAMESPACE} link set ${FAR} up
      ip -n ${NAMESPACE} link set lo up
      tc qdisc add dev ${NEAR} root tbf rate ${RATE * 8} burst 256k limit 8m`)
  } catch (error) {
    remove()
    throw error
  }
  return {
    async through(port) {
      const script = join(import.meta.dirname, 'bench-transfer-peer.ts')
      const args = ['delay', `${PROXY} ${HOST} ${port} ${ROUND_TRIP / 2}`]
      const child = spawn('ip', ['netns', 'exec', NAMESPACE, process.execPath, script, ...args], {
        stdio: ['ignore', 'pipe', 'inherit']
      })
      children.push(child)
      const line = await new Promise<string>((resolve, reject) => {
        child.stdout?.once('data', (data: Buffer) => resolve(data.toString()))
        child.once('exit', () => reject(new Error('the proxy ended')))
      })
      return { host: PROXY, port: (JSON.parse(line) as { port: number }).port }
    },
    async stop() {
      for (const child of children) {
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill()
        await gone
      }
      remove()
    }
  }
}
