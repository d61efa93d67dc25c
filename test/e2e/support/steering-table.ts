/** Where records point a gateway that `steering.spec.ts` asks. */

/** A peer that nobody is. */
export const PEER = '12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'

/** An address of the internet; in the test's network it is the machine's own. */
export const PUBLIC = '8.8.8.8'

/** An address of a network that one of the gateways may dial. */
export const ALLOWED = '10.9.8.7'

/** What the machine has beside its loopback addresses. */
export const ADDRESSES = [
  `${PUBLIC}/32`,
  `${ALLOWED}/32`,
  '10.1.2.3/32',
  '100.64.1.1/32',
  '168.63.129.16/32',
  '169.254.169.254/32',
  '172.16.5.5/32',
  '192.168.7.7/32',
  '198.18.0.1/32',
  '2001:4860:4860::8888/128',
  '2002:7f00:1::1/128',
  '64:ff9b::7f00:1/128',
  'fd00:ec2::254/128',
  'fe80::1/64'
]

/** Names and where they lead. */
export const NAMES: Readonly<Record<string, readonly string[]>> = {
  'public.example': [PUBLIC],
  'loopback.example': ['127.0.0.1'],
  'private.example': ['10.1.2.3'],
  'metadata.example': ['169.254.169.254'],
  'mixed.example': [PUBLIC, '10.1.2.3'],
  'six.example': ['::1'],
  'mapped.example': ['::ffff:127.0.0.1'],
  'nat64.example': ['64:ff9b::7f00:1']
}

/** Names that lead to a public address as often as that, and to loopback from then on. */
export const REBINDS: readonly { name: string; safe: number }[] = ['tcp', 'ws', 'http'].flatMap((way) =>
  [1, 2, 3, 4].map((safe) => ({ name: `${way}${safe}.rebind.example`, safe }))
)

/** A record, and what of it a gateway dials that may dial anything. */
export interface Case {
  /** With `PORT` for that of the listener. */
  readonly address: string
  /** What the domain's dnslink says; some root unless given. */
  readonly link?: string
  /** An address that is dialled where anything may be; none where the system can't. */
  readonly reaches?: string
  /** Addresses that everybody may dial for it. */
  readonly harmless?: readonly string[]
}

const IPS: readonly (readonly [string, string?])[] = [
  ['127.0.0.1', '127.0.0.1'],
  ['127.9.9.9', '127.9.9.9'],
  ['0.0.0.0', '127.0.0.1'],
  ['10.1.2.3', '10.1.2.3'],
  ['100.64.1.1', '100.64.1.1'],
  ['168.63.129.16', '168.63.129.16'],
  ['169.254.169.254', '169.254.169.254'],
  ['172.16.5.5', '172.16.5.5'],
  ['192.168.7.7', '192.168.7.7'],
  ['198.18.0.1', '198.18.0.1'],
  ['224.0.0.1'],
  ['255.255.255.255'],
  ['::1', '::1'],
  ['::', '::1'],
  ['::127.0.0.1'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
  ['::ffff:a9fe:a9fe', '169.254.169.254'],
  ['64:ff9b::7f00:1', '64:ff9b::7f00:1'],
  ['2002:7f00:1::1', '2002:7f00:1::1'],
  ['fd00:ec2::254', 'fd00:ec2::254'],
  ['fe80::1'],
  ['ff02::1']
]

/** Names that the system reads as addresses, and names in DNS. */
const HOSTS: readonly (readonly [string, string])[] = [
  ['localhost', ''],
  ['2130706433', '127.0.0.1'],
  ['0x7f000001', '127.0.0.1'],
  ['0177.0.0.1', '127.0.0.1'],
  ['0x7f.1', '127.0.0.1'],
  ['127.1', '127.0.0.1'],
  ['0', '127.0.0.1'],
  ['2852039166', '169.254.169.254'],
  ['loopback.example', '127.0.0.1'],
  ['private.example', '10.1.2.3'],
  ['metadata.example', '169.254.169.254'],
  ['mixed.example', ''],
  ['six.example', '::1'],
  ['mapped.example', '127.0.0.1'],
  ['nat64.example', '64:ff9b::7f00:1']
]

const WAYS = [`/p2p/${PEER}`, `/ws/p2p/${PEER}`, '/http']

const family = (ip: string): string => (ip.includes(':') ? 'ip6' : 'ip4')

/** Everything that is tried, except for what leads to public addresses. */
export const CASES: readonly Case[] = [
  ...IPS.flatMap(([ip, reaches]) =>
    WAYS.map((way) => ({ address: `/${family(ip)}/${ip}/tcp/PORT${way}`, ...(reaches && { reaches }) }))
  ),
  ...HOSTS.flatMap(([host, reaches]) =>
    WAYS.map((way) => ({
      address: `/dns/${host}/tcp/PORT${way}`,
      ...(reaches !== '' && { reaches }),
      ...(host === 'mixed.example' && { harmless: [PUBLIC] })
    }))
  ),
  ...REBINDS.map(({ name }) => ({
    address: `/dns4/${name}/tcp/PORT${WAYS[['tcp', 'ws', 'http'].indexOf(name.replace(/\d.*/, ''))]}`,
    harmless: [PUBLIC]
  })),
  { address: '/dns4/loopback.example/tcp/PORT/https', reaches: '127.0.0.1' },
  { address: `/dns4/loopback.example/tcp/PORT/tls/ws/p2p/${PEER}`, reaches: '127.0.0.1' },
  {
    address: `/ip4/${PUBLIC}/tcp/PORT/tls/sni/loopback.example/ws/p2p/${PEER}`,
    reaches: PUBLIC,
    harmless: [PUBLIC]
  },
  ...['/ip4/127.0.0.1', '/ip6/::1', '/dns4/loopback.example', '/ip6/::ffff:127.0.0.1'].map((to, i) => ({
    address: `/dnsaddr/d${i}.example/${encodeURIComponent(`${to}/tcp/PORT/p2p/${PEER}`)}`,
    reaches: to === '/ip6/::1' ? '::1' : '127.0.0.1'
  })),
  { address: `/ip4/${PUBLIC}/tcp/REDIRECT/http` },
  // whoever may know of an IPNS name is asked for its record
  {
    address: '/ip4/127.0.0.1/tcp/PORT/http',
    link: '/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8',
    reaches: '127.0.0.1'
  },
  {
    address: `/ip4/10.1.2.3/tcp/PORT/p2p/${PEER}`,
    link: '/ipns/k51qzi5uqu5dlh7yy0sdjmh88b4bys32p2b9e9numb563z4p45tq387yslh8dv',
    reaches: '10.1.2.3'
  },
  { address: `/ip4/${PUBLIC}/tcp/PORT/p2p/${PEER}`, reaches: PUBLIC, harmless: [PUBLIC] },
  { address: `/dns4/public.example/tcp/PORT/http`, reaches: PUBLIC, harmless: [PUBLIC] },
  { address: `/ip4/${ALLOWED}/tcp/PORT/p2p/${PEER}`, reaches: ALLOWED },
  { address: `/ip4/${ALLOWED}/tcp/PORT/ws/p2p/${PEER}`, reaches: ALLOWED },
  { address: `/ip4/${ALLOWED}/tcp/PORT/http`, reaches: ALLOWED }
]

/** The gateways that are asked for all of it. */
export const GATEWAYS = [
  { gateway: 'beyond loopback', env: {} },
  { gateway: 'with a range allowed', env: { SEAWAY_ALLOW_DIAL: '10.9.8.0/24' } },
  { gateway: 'that may dial anything', env: { SEAWAY_ALLOW_PRIVATE_PEERS: 'yes' } }
] as const

/** What came of one record at one gateway. */
export interface Outcome {
  readonly gateway: string
  /** Its place among {@link CASES}. */
  readonly number: number
  readonly address: string
  readonly status: number
  /** Addresses of the machine that were connected to. */
  readonly dialled: readonly string[]
  readonly text: string
}
