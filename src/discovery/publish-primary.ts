import { randomInt } from 'node:crypto'
import { RegistryError, reason } from '../oci/errors.ts'
import { within } from './failure.ts'
import { createHttps } from './https.ts'
import { addressOf, parseServer, type Server, serverList } from './server.ts'
import { exchangeOverTcp } from './update-exchange.ts'
import { encodeMessage, nameIn, readRecords, TYPE } from './wire.ts'

const RECURSION_DESIRED = 0x0100

/**
 * The primary of the zone that holds `name`, as the zone's SOA names it; `servers` are asked in turn, over TCP
 * or HTTPS.
 *
 * @throws RegistryError SOURCE_FAILED when none of them tells
 * @see https://www.rfc-editor.org/rfc/rfc2136#section-4
 */
export async function findPrimary(
  name: string,
  options: { servers: readonly string[]; timeoutMs: number; signal: AbortSignal }
): Promise<Server> {
  const problems: string[] = []
  for (const server of serverList(options.servers)()) {
    try {
      const message = encodeMessage({ id: randomInt(0x10000), opcode: 0, name, type: TYPE.SOA })
      message.writeUInt16BE(RECURSION_DESIRED, 2)
      const answer = await within(options.timeoutMs, options.signal, (signal) =>
        ask(server, message, { timeoutMs: options.timeoutMs, signal })
      )
      const soa = readRecords(answer).find((record) => record.type === TYPE.SOA)
      if (soa === undefined) problems.push(`${server.label} knows no SOA`)
      else return parseServer(nameIn(answer, soa))
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason
      problems.push(`${server.label} ${reason(error)}`)
    }
  }
  throw new RegistryError(
    'SOURCE_FAILED',
    `could not find out which server is the primary of the zone of ${name} (${problems.join('; ')}): name it as server=`
  )
}

async function ask(
  server: Server,
  message: Buffer,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal }
): Promise<Buffer> {
  const { url } = server
  if (url === undefined)
    return exchangeOverTcp({ address: await addressOf(server, signal), port: server.port }, message, signal)
  const https = createHttps({ timeoutMs })
  try {
    return (await https.post({ ...server, url }, message, { signal })).bytes
  } finally {
    https.stop()
  }
}
