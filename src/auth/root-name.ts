import { base36 } from 'multiformats/bases/base36'
import { CID } from 'multiformats/cid'

/** The codec of keys, which IPNS names are CIDs of. */
const LIBP2P_KEY = 0x72

/** A name, or a glob, that begins with a root: which kind, and which. */
const ROOT = /^(ipfs|ipns)\/([^/*?]+)(?=\/)/

/**
 * A name below `ipfs/` or `ipns/`, or a glob of such, with its root as it is written commonly: a CID has a text in each
 * base (`bafy…`, `k2…`), and all of them are one root. What is no CID, and every other name, stays as it is.
 */
export function withPlainRoot(name: string): string {
  return name.replace(ROOT, (whole, kind: string, root: string) => {
    // a domain, perhaps with the dot of its root
    if (root.includes('.')) return `${kind}/${root.replace(/\.$/, '')}`
    try {
      const cid = (root.startsWith('k') ? CID.parse(root, base36) : CID.parse(root)).toV1()
      return `${kind}/${cid.code === LIBP2P_KEY ? cid.toString(base36) : cid.toString()}`
    } catch {
      return whole // nobody finds anything by it
    }
  })
}
