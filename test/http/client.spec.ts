import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { type Client, createClients } from '../../src/http/client.ts'
import { createLog } from '../../src/log.ts'

describe('who a client is', () => {
  const find = createClients({ trusted: ['10.0.0.0/8', 'fd00::/8'], log: createLog('silent') })

  function asked(from: string, headers: Record<string, string>): Client {
    const socket = Object.defineProperty(new Socket(), 'remoteAddress', { value: from })
    return find({ socket, headers } as unknown as IncomingMessage)
  }

  const table: [what: string, from: string, headers: Record<string, string>, client: Client][] = [
    ['one that connects itself', '203.0.113.5', {}, { address: '203.0.113.5' }],
    ['IPv4 in the words of IPv6', '::ffff:203.0.113.5', {}, { address: '203.0.113.5' }],
    [
      'headers of a stranger',
      '203.0.113.5',
      {
        'x-forwarded-for': '1.2.3.4',
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'a.example',
        forwarded: 'for=1.2.3.4;proto=https;host=a.example'
      },
      { address: '203.0.113.5' }
    ],
    ['a proxy that says nothing', '10.0.0.1', {}, { address: '10.0.0.1' }],
    [
      'a proxy that says everything',
      '::ffff:10.0.0.1',
      {
        'x-forwarded-for': '203.0.113.5',
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'Reg.example:8443'
      },
      { address: '203.0.113.5', protocol: 'https', host: 'reg.example:8443' }
    ],
    [
      'what the client wrote before the proxy did',
      '10.0.0.1',
      { 'x-forwarded-for': '1.2.3.4, 203.0.113.5' },
      { address: '203.0.113.5' }
    ],
    [
      'a proxy behind a proxy',
      'fd00::1',
      { 'x-forwarded-for': '1.2.3.4, 203.0.113.5, 10.9.9.9' },
      { address: '203.0.113.5' }
    ],
    [
      'ports and brackets',
      '10.0.0.1',
      { 'x-forwarded-for': '[2001:db8::7]:4711, 10.0.0.2:80' },
      { address: '2001:db8::7' }
    ],
    [
      'what is no address ends the way',
      '10.0.0.1',
      { 'x-forwarded-for': '203.0.113.5, unknown, 10.0.0.2' },
      { address: '10.0.0.2' }
    ],
    ['nothing but proxies', '10.0.0.1', { 'x-forwarded-for': '10.0.0.3, 10.0.0.2' }, { address: '10.0.0.3' }],
    [
      'Forwarded',
      '10.0.0.1',
      { forwarded: 'for=1.2.3.4, For="[2001:db8::7]:4711";Proto=https;host="reg.example"' },
      { address: '2001:db8::7', protocol: 'https', host: 'reg.example' }
    ],
    [
      'Forwarded that hides the client',
      '10.0.0.1',
      { forwarded: 'for=_hidden;proto=https' },
      { address: '10.0.0.1', protocol: 'https' }
    ],
    ['Forwarded that cannot be read', '10.0.0.1', { forwarded: 'for=1.2.3.4;=;' }, { address: '10.0.0.1' }],
    [
      'both, the same',
      '10.0.0.1',
      { 'x-forwarded-for': '203.0.113.5', forwarded: 'for=203.0.113.5' },
      { address: '203.0.113.5' }
    ],
    [
      'both, one passed on from the client',
      '10.0.0.1',
      { 'x-forwarded-for': '203.0.113.5', forwarded: 'for=1.2.3.4;proto=https' },
      { address: '10.0.0.1' }
    ],
    [
      'a host and a protocol that are none',
      '10.0.0.1',
      { 'x-forwarded-proto': 'gopher', 'x-forwarded-host': 'a.example/"><x' },
      { address: '10.0.0.1' }
    ]
  ]
  for (const [what, from, headers, client] of table)
    it(what, () => assert.deepEqual(asked(from, headers), client))

  it('a stream of a peer is never a proxy, wherever it comes from', () => {
    const request = { socket: { remoteAddress: '10.0.0.1' }, headers: { 'x-forwarded-for': '1.2.3.4' } }
    assert.deepEqual(find(request as unknown as IncomingMessage), { address: '10.0.0.1' })
  })
})
