import assert from 'node:assert/strict'
import { networkOf } from '../../src/ipfs/addresses.ts'

describe('addresses', () => {
  it('of IPv6 the first 64 bits are one client', () => {
    const networks: Record<string, string> = {
      '203.0.113.5': '203.0.113.5',
      '::ffff:203.0.113.5': '203.0.113.5',
      '2001:db8:1:2:3:4:5:6': '2001:db8:1:2::/64',
      '2001:0DB8:0001:0002::1': '2001:db8:1:2::/64',
      '2001:db8::1': '2001:db8:0:0::/64',
      'fe80::1%eth0': 'fe80:0:0:0::/64',
      '::1': '0:0:0:0::/64',
      '1:2:3:4:5:6:7::': '1:2:3:4::/64',
      '': ''
    }
    for (const [address, network] of Object.entries(networks)) assert.equal(networkOf(address), network)
  })
})
