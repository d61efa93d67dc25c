/** What a gateway was asked, out of its own log: for tests of what a client need not send twice. */
import type { SeawayGateway } from './gateway.ts'

/** One request that was answered. The gateway must log at `info`. */
export interface SeenRequest {
  method: string
  url: string
  status: number
  /** Whether the whole answer went out. */
  complete: boolean
}

/** Collects what the gateway is asked from now on. */
export async function watchRequests(gateway: SeawayGateway): Promise<() => Promise<SeenRequest[]>> {
  const seen = async (): Promise<SeenRequest[]> =>
    (await gateway.logged()).filter((line) => line.msg === 'request') as unknown as SeenRequest[]
  const before = (await seen()).length
  return async () => (await seen()).slice(before)
}

/** The requests that carried, or were to carry, a blob's bytes: whatever ended or filled an upload. */
export function uploads(requests: readonly SeenRequest[]): SeenRequest[] {
  return requests.filter(
    ({ method, url }) => (method === 'PATCH' || method === 'PUT') && url.includes('/blobs/uploads/')
  )
}
