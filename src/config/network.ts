import { join } from 'node:path'
import envPaths from 'env-paths'
import { row, type Setting } from './table.ts'
import {
  count,
  dnsServer,
  duration,
  hostPort,
  httpUrl,
  list,
  multiaddr,
  oneOf,
  optional,
  PUBLIC_BOOTSTRAP,
  peerAddress,
  rate,
  yesNo
} from './values.ts'

/** Where it listens, and how peers are found and served. */
export const NETWORK: readonly Setting[] = [
  row(
    'listen',
    'HOST:PORT',
    '127.0.0.1:5000',
    'where the registry listens; port 0 picks a free one',
    hostPort
  ),
  row(
    'data',
    'FOLDER',
    '',
    "where everything is kept; the platform's data folder + /seaway if not set",
    (text) => (text === '' ? join(envPaths('seaway', { suffix: '' }).data) : text)
  ),
  row(
    'dnsServers',
    'HOST[:PORT]|https://…,…',
    '',
    "name servers that are asked for TXT records, by DNS or over HTTPS (https://host/dns-query); the system's if not set",
    list(dnsServer)
  ),
  row(
    'swarmListen',
    'MULTIADDR,…',
    '/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/tcp/4002/ws',
    'where other gateways and IPFS nodes reach this one',
    list(multiaddr)
  ),
  row(
    'announce',
    'MULTIADDR,…',
    '',
    'addresses to publish in ipfsnode= instead of those listened on',
    list(multiaddr)
  ),
  row(
    'peers',
    'MULTIADDR,…',
    '',
    'peers to ask for roots that are asked for by CID, as ipfs/<root>/<image>, and for images of other registries',
    list(multiaddr)
  ),
  row(
    'seedListen',
    'HOST:PORT',
    '',
    'a second HTTP port that serves /ipfs/… and nothing else, so that blocks can be public while the registry is not',
    (text) => (text === '' ? undefined : hostPort(text))
  ),
  row(
    'routing',
    'public|none',
    'none',
    'whether to find and tell peers through the public IPFS network',
    oneOf('public', 'none')
  ),
  row(
    'bootstrap',
    'MULTIADDR,…',
    PUBLIC_BOOTSTRAP.join(','),
    "with routing=public: where the DHT is entered; nothing for no DHT. The public network's if not set",
    list(peerAddress)
  ),
  row(
    'delegatedRouters',
    'URL,…',
    'https://delegated-ipfs.dev',
    'with routing=public: HTTP services that are asked who has what, beside the DHT',
    list(httpUrl)
  ),
  row(
    'provideInterval',
    'TIME',
    '22h',
    'with routing=public: how often the network is told again what is offered here; it forgets after 48h',
    duration
  ),
  row(
    'mdns',
    'yes|no',
    'no',
    'find other gateways and IPFS nodes on the local network, and be found there',
    yesNo
  ),
  row(
    'relays',
    'MULTIADDR,…',
    '',
    'relays through which this gateway can be reached behind a NAT: …/p2p/<peer id>',
    list(peerAddress)
  ),
  row('relayServer', 'yes|no', 'no', 'pass on connections to gateways behind NATs that ask for it', yesNo),
  row(
    'seed',
    'published|all|none',
    '',
    'what peers can have from here, whoever they are: the trees of own domains with what they hold, everything in the store, or nothing. If not set: none where users are asked for and SEAWAY_AUTH_ANONYMOUS_PULL is no, else all',
    // `check` puts in what holds if it isn't set
    (text) => (text === '' ? ('' as 'none') : oneOf('published', 'all', 'none')(text))
  ),
  row(
    'uploadLimit',
    'SIZE',
    '',
    'bytes a second that go to peers, all together; no limit if not set',
    optional(rate)
  ),
  row(
    'downloadLimit',
    'SIZE',
    '',
    'bytes a second that come from peers, all together; no limit if not set',
    optional(rate)
  ),
  row('maxPeers', 'NUMBER', '300', 'connections with peers at a time', count),
  row(
    'maxPeersPerAddress',
    'NUMBER',
    '64',
    'connections that peers at one IP address can have open here',
    count
  ),
  row(
    'maxPeerRequests',
    'NUMBER',
    '128',
    'requests of peers for blocks and CARs that are answered at a time, of one IP address about half as many; more are told to come back',
    count
  ),
  row(
    'gatewayFetch',
    'yes|no',
    'no',
    'let whoever asks for /ipfs/… have it fetched from other peers, instead of out of the store only',
    yesNo
  )
]
