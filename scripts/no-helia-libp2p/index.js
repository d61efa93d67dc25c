/**
 * `helia` imports this name at load time for its default node. Seaway never makes a default node
 * (it would dial public peers), so a call is a programming error and says so.
 */
export function withLibp2p() {
  throw new Error('the default Helia node is not used here: compose libp2p in src/ipfs/node.ts')
}
