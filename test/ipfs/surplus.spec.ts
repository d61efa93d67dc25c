import assert from 'node:assert/strict'
import { peerIdFromString } from '@libp2p/peer-id'
import { createSurplus } from '../../src/ipfs/surplus.ts'

const MiB = 1024 * 1024
const PEER = peerIdFromString('12D3KooWGhsYu5Rc4dCdNbmF6LJA9b7tC7ASDJntj8K3Tf5WY4XM')
const OTHER = peerIdFromString('12D3KooWQQFf2oM8WZvapgh2kbAg6Ez3jKtQ5xzokaH2b34qMqDJ')

describe('ipfs: what peers send over bitswap unasked', () => {
  let told: string[]
  const account = () => {
    told = []
    return createSurplus((peer) => void told.push(peer.toString()))
  }

  it('is nothing as long as they send what they were asked for, however much that is', () => {
    const { read, earned } = account()
    for (let i = 0; i < 10_000; i++) {
      read(PEER, MiB + 60)
      earned(PEER, MiB)
    }
    assert.deepEqual(told, [])
  })

  it('is borne up to a limit, each peer by itself, and told once', () => {
    const { read } = account()
    for (let i = 0; i < 15; i++) {
      read(PEER, MiB)
      read(OTHER, MiB)
    }
    assert.deepEqual(told, [])
    for (let i = 0; i < 4; i++) read(PEER, MiB)
    assert.deepEqual(told, [PEER.toString()])
  })

  it('is not made up for in advance', () => {
    const { read, earned } = account()
    for (let i = 0; i < 100; i++) {
      read(PEER, MiB)
      earned(PEER, MiB)
    }
    for (let i = 0; i < 20; i++) read(PEER, MiB)
    assert.deepEqual(told, [PEER.toString()])
  })
})
