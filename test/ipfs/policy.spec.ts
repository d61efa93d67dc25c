import assert from 'node:assert/strict'
import { multiaddr } from '@multiformats/multiaddr'
import { isPublic } from '../../src/ipfs/addresses.ts'
import { createPolicy } from '../../src/ipfs/policy.ts'

describe('ipfs: dial policy', () => {
  const open = [
    '1.1.1.1',
    '8.8.8.8',
    '172.32.0.1',
    '100.128.0.1',
    '192.167.1.1',
    '2606:4700::1111',
    '2a00:1450::1'
  ]
  const shut = `0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 172.31.255.255
    192.168.1.1 192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.251 255.255.255.255 :: ::1
    fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1 2001::1 2002:7f00:1:: 100::1
    ::ffff:127.0.0.1 ::ffff:a9fe:a9fe ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::10.0.0.1
    0:0:0:0:0:ffff:7f00:0001 168.63.129.16 ::127.0.0.1 ::8.8.8.8 2002:808:808::1 2001:0:808:808::1 64:ff9b:1::808:808
    ::ffff:0:127.0.0.1 2130706433 0x7f000001 0177.0.0.1 127.1 nonsense`.split(/\s+/)

  for (const ip of [...open, '::ffff:8.8.8.8', '64:ff9b::8.8.8.8']) {
    it(`${ip} is public`, () => assert.equal(isPublic(ip), true))
  }
  for (const ip of shut) it(`${ip} isn't public`, () => assert.equal(isPublic(ip), false))

  const names: Record<string, string[]> = {
    'good.example': ['8.8.8.8', '2606:4700::1111'],
    'bad.example': ['8.8.8.8', '192.168.1.1']
  }
  const resolve = async (name: string) => names[name] ?? []

  const cases: [address: string, any: boolean, publicOnly: boolean][] = [
    ['/ip4/8.8.8.8/tcp/4001', true, true],
    ['/ip4/127.0.0.1/tcp/4001', true, false],
    ['/ip6/::1/tcp/4001/ws', true, false],
    ['/ip6/::ffff:7f00:1/tcp/4001', true, false],
    ['/dns4/good.example/tcp/4001', true, true],
    ['/dns/bad.example/tcp/443/tls/ws', true, false],
    ['/dnsaddr/bad.example', true, true],
    ['/unix/%2Frun%2Fdocker.sock', false, false],
    ['/p2p/12D3KooWHRTWyaMAkCwESwn4E6C6pKyNxvGgvKvf2qiz2HrZ5fnr', true, true]
  ]
  for (const [address, any, publicOnly] of cases) {
    it(`${address}: any ${any}, public ${publicOnly}`, async () => {
      const refused = (allow: 'any' | 'public') => createPolicy(allow, resolve).refusal(multiaddr(address))
      assert.equal((await refused('any')) === undefined, any)
      assert.equal((await refused('public')) === undefined, publicOnly)
    })
  }

  it('judges names again at the moment of connecting', async () => {
    const look = (allow: 'any' | 'public') =>
      new Promise((resolved, reject) => {
        createPolicy(allow).lookup('localhost', { all: false }, (error, address) =>
          error === null ? resolved(address) : reject(error)
        )
      })
    await assert.rejects(look('public'), /localhost: .* isn't a public address/)
    assert.ok(['127.0.0.1', '::1'].includes(String(await look('any'))))
  })
})
