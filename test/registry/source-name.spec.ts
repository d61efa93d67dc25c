import assert from 'node:assert/strict'
import { RegistryError } from '../../src/oci/errors.ts'
import {
  namesImage,
  parseImage,
  parseRepositoryAt,
  parseSource,
  sourceText
} from '../../src/registry/source-name.ts'

const ROOT = 'bafybeigauc6xuoy2yyllhrgm4ureejkmg7xiuoztabtnnublpcf2g6gomm'
const OLD = 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG'
const KEY = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'
const DIGEST = `sha256:${'a'.repeat(64)}`

describe('the name of a source', () => {
  it('is a domain, a root, an IPNS name, or a registry', () => {
    const tree = (place: object) => ({ kind: 'tree', place })
    const registry = (url: string, path = '') => ({ kind: 'registry', url, path })
    const cases: [string, object][] = [
      ['example.com', tree({ kind: 'ipns', name: 'example.com' })],
      ['Example.COM.', tree({ kind: 'ipns', name: 'example.com' })],
      ['local', tree({ kind: 'domain', domain: 'local' })],
      ['example.com@7', { kind: 'published', root: 'example.com@7' }],
      [`example.com@${ROOT}`, { kind: 'published', root: `example.com@${ROOT}` }],
      ...[ROOT, `/ipfs/${ROOT}`, `ipfs/${ROOT}`, `ipfs://${ROOT}`].map((text): [string, object] => [
        text,
        tree({ kind: 'ipfs', cid: ROOT })
      ]),
      [OLD, tree({ kind: 'ipfs', cid: 'bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34' })],
      ...[KEY, `/ipns/${KEY}`, `ipns://${KEY}`].map((text): [string, object] => [
        text,
        tree({ kind: 'ipns', name: KEY })
      ]),
      ['https://registry.example', registry('https://registry.example')],
      ['http://gw.example:5000/example.com/', registry('http://gw.example:5000', 'example.com')],
      ['https://registry.example/v2/', registry('https://registry.example')],
      ['127.0.0.1:5001', registry('http://127.0.0.1:5001')],
      ['[::1]:5001', registry('http://[::1]:5001')],
      ['localhost:5001', registry('http://localhost:5001')],
      ['registry.example:5000', registry('https://registry.example:5000')]
    ]
    for (const [text, name] of cases) assert.deepEqual(parseSource(text), name, text)
  })

  it('is refused in words when it is none', () => {
    for (const text of [
      '',
      'nonsense',
      'example.com/app',
      `ipfs/${ROOT}/app`,
      'ipfs/nonsense',
      '/ipns/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN',
      'example.com@',
      'https://user@registry.example',
      'https://registry.example?x=1',
      'http://',
      '../etc'
    ])
      assert.throws(() => parseSource(text), RegistryError, text)
  })

  it('stands in front of an image, or apart from it', () => {
    const tag = (name: string) => ({ kind: 'tag', tag: name })
    const cases: [string, string | undefined, object][] = [
      ['app', undefined, { source: { kind: 'gateway' }, repository: 'app', reference: tag('latest') }],
      ['app:1', undefined, { source: { kind: 'gateway' }, repository: 'app', reference: tag('1') }],
      [
        `example.com/a/b:1@${DIGEST}`,
        undefined,
        {
          source: { kind: 'gateway' },
          repository: 'example.com/a/b',
          reference: { kind: 'digest', digest: DIGEST }
        }
      ],
      [
        `ipfs/${ROOT}/a/b:1`,
        undefined,
        { source: parseSource(ROOT), repository: 'a/b', reference: tag('1') }
      ],
      [
        '127.0.0.1:5000/a/b:1',
        undefined,
        { source: parseSource('127.0.0.1:5000'), repository: 'a/b', reference: tag('1') }
      ],
      [
        'a/b:1',
        'https://registry.example/team',
        { source: parseSource('https://registry.example'), repository: 'team/a/b', reference: tag('1') }
      ],
      ['app:1', 'example.com', { source: parseSource('example.com'), repository: 'app', reference: tag('1') }]
    ]
    for (const [text, source, image] of cases)
      assert.deepEqual(parseImage(text, source === undefined ? undefined : parseSource(source)), image, text)
    for (const text of [
      'app:',
      'app:-',
      'app@1',
      `app:${DIGEST}`,
      `ipfs/${ROOT}`,
      'https://registry.example'
    ])
      assert.throws(() => parseImage(text), RegistryError, text)
    assert.equal(parseRepositoryAt('http://h.example:5000/a/b').repository, 'a/b')
  })

  it('is told from an image', () => {
    const sources = [
      'local',
      'example.com',
      'example.com@7',
      'local@7',
      ROOT,
      `ipfs/${ROOT}`,
      '127.0.0.1:5000',
      'http://127.0.0.1:5000',
      'https://r.example/team'
    ]
    for (const text of sources) assert.equal(namesImage(text), false, text)
    const images = [
      'app',
      'app:1',
      'example.com/app',
      `ipfs/${ROOT}/app`,
      'http://127.0.0.1:5000/app:1',
      `app@${DIGEST}`
    ]
    for (const text of images) assert.equal(namesImage(text), true, text)
  })

  it('is written as it is read', () => {
    for (const text of [
      'example.com',
      'local',
      `ipfs/${ROOT}`,
      `ipns/${KEY}`,
      'example.com@7',
      'https://r.example/team'
    ])
      assert.equal(sourceText(parseSource(text)), text)
  })
})
