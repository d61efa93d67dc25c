/** What records can say wrong, and where they can lead. */
import { encode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import type { BlockServer } from './block-server.ts'
import { ABSENT, FAILED, failing, type Hostile, NOBODY } from './hostile.ts'

const RAW = 0x55
const DAG_PB = 0x70
const DAG_CBOR = 0x71
const BLAKE3 = 0x1e
const KEY = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'
const PEER = '12D3KooWGatU9DxBhXy6DWJB1Me9WmZGfJ7TvpjJRzZ3oCUGtTkR'

const node = (type: 'file' | 'directory'): Uint8Array =>
  encode({ Data: new UnixFS({ type }).marshal(), Links: [] })

/** A domain with these records at `_dnslink` and at its own name. */
const records =
  (link: string, own?: string): Hostile['set'] =>
  (domain, { dns }) => {
    dns.setTxt(`_dnslink.${domain}`, [link])
    if (own !== undefined) dns.setTxt(domain, [own])
  }

/** A domain whose dnslink leads to a block that there is. */
const root =
  (cidOf: (blocks: BlockServer) => CID | string, path = ''): Hostile['set'] =>
  (domain, at) =>
    records(`dnslink=/ipfs/${cidOf(at.blocks)}${path}`, `ipfsnode=["${at.blocks.address}"]`)(domain, at)

const UNDIALLED = /nothing here can dial such an address/
const again = /its owner has to publish it again$/

/** Records that don't lead to a root. */
const LINKS: readonly Hostile[] = [
  {
    what: 'a loop of dnslinks',
    ...FAILED,
    says: [/^dnslink loop: \S+ → b\.\S+ → /, /one of them has to lead to \/ipfs\/<CID>/],
    set(domain, { dns }) {
      dns.setTxt(`_dnslink.${domain}`, [`dnslink=/ipns/b.${domain}`])
      dns.setTxt(`_dnslink.b.${domain}`, [`dnslink=/ipns/${domain}`])
    }
  },
  {
    what: 'dnslinks without end',
    ...FAILED,
    says: [/^more than 8 dnslinks in a row/, /one of them has to lead to \/ipfs\/<CID>/],
    set(domain, { dns }) {
      dns.setTxt(`_dnslink.${domain}`, [`dnslink=/ipns/d0.${domain}`])
      for (let i = 0; i < 40; i++)
        dns.setTxt(`_dnslink.d${i}.${domain}`, [`dnslink=/ipns/d${i + 1}.${domain}`])
    }
  },
  {
    what: 'a record for another namespace',
    ...ABSENT,
    says: [/looked for TXT "dnslink=\/ipfs\/<CID>"/, /the namespace "hyper" is none that is read here/],
    set: records('dnslink=/hyper/abc')
  },
  {
    what: 'what is no CID',
    ...FAILED,
    says: [/"nonsense" is not a CID/, again],
    set: records('dnslink=/ipfs/nonsense')
  },
  {
    what: 'what is no text',
    ...FAILED,
    says: [/only printable ASCII/, /^[ -~]*$/, again],
    set: records('dnslink=/ipfs/\u0007\u001b[31m')
  },
  {
    what: 'an IPNS name that nobody knows',
    ...FAILED,
    says: [new RegExp(`${KEY}.* did not resolve`), /its publisher has to publish it again/],
    set: records(`dnslink=/ipns/${KEY}`)
  }
]

/** Roots that are no directory. */
const ROOTS: readonly Hostile[] = [
  {
    what: 'a root that is bytes',
    ...FAILED,
    says: [/is a file where a directory was expected/],
    set: root((blocks) => blocks.put(RAW, Buffer.from('bytes')))
  },
  {
    what: 'a root that is a file',
    ...FAILED,
    says: [/is not a directory: it is a file/],
    set: root((blocks) => blocks.put(DAG_PB, node('file')))
  },
  {
    what: 'a root of another codec',
    ...FAILED,
    says: [/the codec 0x71/],
    set: root((blocks) => blocks.put(DAG_CBOR, Buffer.from([0xa0])))
  },
  {
    what: 'a root whose block is nonsense',
    ...FAILED,
    says: [/\/http \S*protobuf/],
    set: root((blocks) => blocks.put(DAG_PB, Buffer.from('nonsense')))
  },
  {
    what: 'a root whose hash is not one that is checked here',
    ...FAILED,
    says: [/\/http doesn't have it/],
    set: root(() => CID.createV1(DAG_PB, createMultihash(BLAKE3, Buffer.alloc(32, 1))))
  },
  {
    what: 'a root that its peer does not have',
    ...FAILED,
    says: [/\/http doesn't have it/],
    set: root(() => NOBODY)
  },
  {
    what: 'a directory with no registry in it',
    status: 404,
    code: 'MANIFEST_UNKNOWN',
    says: [/^no repository .* is known here/],
    doctor: /holds no repositories/,
    set: root((blocks) => blocks.put(DAG_PB, node('directory')))
  },
  {
    what: 'a path that is not there',
    ...ABSENT,
    says: [/points at \/ipfs\/\w+\/not\/there, which does not exist/],
    set: root((blocks) => blocks.put(DAG_PB, node('directory')), '/not/there')
  }
]

const peers: [what: string, record: string | undefined, says: RegExp, doctor?: RegExp][] = [
  ['no peers', undefined, /has no usable ipfsnode= record/],
  ['peers of an unknown protocol', 'ipfsnode=["/carrier/pigeon"]', /Protocol carrier was unknown/],
  ['peers that are no JSON', 'ipfsnode=["/ip4/127.0.0.1', /it is not valid JSON/],
  ['a socket of this machine', 'ipfsnode=/unix/%2Frun%2Fdocker.sock', /\/unix is no address on a network/],
  ['port 0', 'ipfsnode=/ip4/127.0.0.1/tcp/0', /port 0 cannot be dialled/],
  ['a peer without an address', `ipfsnode=/p2p/${PEER}`, /no address of this peer is known/, UNDIALLED],
  [
    'a way that is not spoken here',
    'ipfsnode=/ip4/127.0.0.1/udp/1/quic-v1',
    /quic-v1 \(not a way that is spoken here: TCP, WebSocket and HTTP are/,
    UNDIALLED
  ]
]

/** The table. */
export const HOSTILE_RECORDS: readonly Hostile[] = [
  ...LINKS,
  ...ROOTS,
  ...peers.map(([what, record, says, doctor]) =>
    Object.assign(failing(what, [says], records(`dnslink=/ipfs/${NOBODY}`, record)), doctor && { doctor })
  )
]

/** Records that only a gateway which others can reach refuses: they point into its own network. */
export const FORBIDDEN: readonly Hostile[] = [
  '/ip4/127.0.0.1/tcp/80/http',
  '/ip4/10.0.0.1/tcp/4001',
  '/ip4/169.254.169.254/tcp/80/http',
  '/ip6/::ffff:127.0.0.1/tcp/80',
  '/dns4/localhost/tcp/80/http'
].map((address) =>
  failing(
    address,
    [/isn't a public address/, new RegExp(address.split('/')[1] ?? '')],
    records(`dnslink=/ipfs/${NOBODY}`, `ipfsnode=${address}`)
  )
)
