/**
 * A link of 100 MB/s and 50 ms round trip, for `bench-transfer.ts`: a network namespace behind a `veth` pair
 * whose way in is held to the rate by `tc tbf`, and in it a proxy that holds every byte back for half of the
 * round trip, each way. (The kernel that this was written for has no netem.)
 *
 * Whoever is to be reached listens on {@link HOST}; through the link it is at the proxy's address.
 */
import { execFileSync } from 'node:child_process'
import { type Role, startRole } from './bench-transfer-process.ts'

/** The rate in bytes a second, and the round trip in milliseconds. */
export const RATE = 100e6
export const ROUND_TRIP = 50

const NAMESPACE = `seaway-bench-${process.pid}`
const NEAR = `swb${process.pid % 100_000}`
const FAR = `${NEAR}p`

/** The near end's address, and the far one's; of a network of this run's own, in case another one was killed. */
const NETWORK = `10.199.${process.pid % 256}`
export const HOST = `${NETWORK}.1`
const PROXY = `${NETWORK}.2`

/** The link while it stands. */
export interface Link {
  /** The address behind the link of what listens on {@link HOST} at `port`. */
  through(port: number): Promise<{ host: string; port: number }>
  stop(): Promise<void>
}

const sh = (line: string) => execFileSync('sh', ['-ec', line], { stdio: ['ignore', 'ignore', 'pipe'] })

/** Lays the link; throws where namespaces or `tc` can't be had. */
export function startLink(): Link {
  const proxies: Role[] = []
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
      const what = ['delay', `${PROXY} ${HOST} ${port} ${ROUND_TRIP / 2}`]
      const proxy = await startRole(what, ['ip', 'netns', 'exec', NAMESPACE])
      proxies.push(proxy)
      return { host: PROXY, port: proxy.said['port'] as number }
    },
    async stop() {
      for (const proxy of proxies) await proxy.stop()
      remove()
    }
  }
}
