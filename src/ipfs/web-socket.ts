import { webSockets } from '@libp2p/websockets'
import type { Multiaddr } from '@multiformats/multiaddr'
import { WebSocket } from 'ws'
import type { DialPolicy } from './policy.ts'

/**
 * libp2p's WebSocket transport, with the dial policy where names become addresses. The library opens Node's own
 * WebSocket, which looks a name up by itself (one that had led elsewhere when the policy looked would be dialled), and
 * dials the name after `/sni/` instead of the address that the policy has judged. That one never says why it failed, either.
 */
export function guardedWebSockets(policy: DialPolicy): ReturnType<typeof webSockets> {
  const make = webSockets()
  // how the library opens a socket, called by nobody else
  const connect = (address: Multiaddr, { signal }: { signal?: AbortSignal }) => open(address, policy, signal)
  return (components) => Object.assign(make(components), { _connect: connect })
}

function open(address: Multiaddr, policy: DialPolicy, signal: AbortSignal | undefined): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const { url, sni } = targetOf(address)
    const refused = policy.urlRefusal(url)
    if (refused !== undefined) throw new Error(refused)
    const named = sni === undefined ? {} : { servername: sni, headers: { host: `${sni}:${url.port}` } }
    // redirects aren't followed unless that is asked for
    const socket = new WebSocket(url, { lookup: policy.lookup, perMessageDeflate: false, ...named })
    socket.binaryType = 'arraybuffer'
    const leave = () => {
      reject(signal?.reason as Error)
      socket.terminate()
    }
    signal?.addEventListener('abort', leave, { once: true })
    const settle = () => signal?.removeEventListener('abort', leave)
    // those that come later are told by what closes then
    socket.on('error', (error: NodeJS.ErrnoException) => {
      settle()
      const answered = error.code === undefined
      reject(
        answered
          ? new Error(`no WebSocket could be opened there (${error.message})`, { cause: error })
          : error
      )
    })
    socket.once('open', () => {
      settle()
      resolve(socket)
    })
  })
}

/** What an address is dialled as, and the name that its certificate has to be for, where that is another one. */
function targetOf(address: Multiaddr): { url: URL; sni: string | undefined } {
  const parts = address.getComponents().filter(({ name }) => name !== 'p2p')
  const [host, port] = parts
  const valueOf = (wanted: string) => parts.find(({ name }) => name === wanted)?.value
  const secure = parts.some(({ name }) => name === 'tls' || name === 'wss')
  const name = host?.name === 'ip6' ? `[${host.value}]` : host?.value
  const url = new URL(`${secure ? 'wss' : 'ws'}://${name}:${port?.value}`)
  url.pathname = decodeURIComponent(valueOf('http-path') ?? '')
  return { url, sni: valueOf('sni') }
}
