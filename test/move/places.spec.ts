import assert from 'node:assert/strict'
import { imageText, nameInGateway, parsePlace } from '../../src/move/places.ts'

const HEX = 'a'.repeat(64)

describe('places of images', () => {
  const image = (repository: string, tag: string | undefined = 'latest', digest?: string) => ({
    repository,
    tag,
    digest
  })

  it('are read as they are written', () => {
    assert.deepEqual(parsePlace('example.com/app:1'), {
      kind: 'gateway',
      image: image('example.com/app', '1')
    })
    assert.deepEqual(parsePlace(`app@sha256:${HEX}`), {
      kind: 'gateway',
      image: { repository: 'app', tag: undefined, digest: `sha256:${HEX}` }
    })
    assert.deepEqual(parsePlace('app:1', 'docker'), { kind: 'docker', image: 'app:1' })
    assert.deepEqual(parsePlace('podman:app'), { kind: 'podman', image: 'app' })
    assert.deepEqual(parsePlace('-'), { kind: 'archive', path: '-', image: undefined })
    for (const [text, path, name] of [
      ['oci:./app', './app', undefined],
      ['oci:./app:1', './app', '1'],
      ['oci:/tmp/a:b/app:', '/tmp/a:b/app', undefined],
      [`oci:app:sha256:${HEX}`, 'app', `sha256:${HEX}`]
    ] as const)
      assert.deepEqual(parsePlace(text), { kind: 'oci', path, image: name }, text)
    for (const root of ['ipfs/bafy', '/ipfs/bafy', 'ipfs://bafy', 'dweb:/ipfs/bafy'])
      assert.deepEqual(parsePlace(`${root}/app:1`), { kind: 'gateway', image: image('ipfs/bafy/app', '1') })
    assert.deepEqual(parsePlace('archive:a.tar:app:1'), { kind: 'archive', path: 'a.tar', image: 'app:1' })
  })

  it('of other registries have a URL, with TLS unless they are on this machine', () => {
    for (const [text, url, name] of [
      ['docker://alpine', 'https://registry-1.docker.io/', 'library/alpine:latest'],
      ['docker://docker.io/team/app:1', 'https://registry-1.docker.io/', 'team/app:1'],
      ['registry:quay.io/team/app:1', 'https://quay.io/', 'team/app:1'],
      ['registry:alpine:1', 'https://registry-1.docker.io/', 'library/alpine:1'],
      ['localhost:5000/app:1', 'http://localhost:5000/', 'app:1'],
      ['registry.example:5000/team/app', 'https://registry.example:5000/', 'team/app:latest'],
      ['docker://127.0.0.1:5000/app', 'http://127.0.0.1:5000/', 'app:latest'],
      ['http://registry.example:5000/app', 'http://registry.example:5000/', 'app:latest']
    ] as const) {
      const place = parsePlace(text)
      assert.ok(place.kind === 'registry')
      assert.equal(place.url.href, url, text)
      assert.equal(imageText(place.image), name, text)
    }
  })

  it('what is none is refused with a reason', () => {
    for (const bad of [
      'oci:',
      'docker:App',
      'app:!',
      'App',
      'app@sha256:short',
      'docker://',
      'docker:-x',
      'registry:quay.io'
    ])
      assert.throws(() => parsePlace(bad), { name: 'MoveError' }, bad)
  })

  it('names of engines become names in the gateway', () => {
    for (const [name, domain, expected] of [
      ['app:1', undefined, 'app:1'],
      ['app', 'example.com', 'example.com/app:latest'],
      ['127.0.0.1:5000/example.com/app:1', undefined, 'example.com/app:1'],
      ['localhost:5000/app:1', undefined, 'app:1'],
      ['registry.example.com:5000/app:1', undefined, 'app:1'],
      ['quay.io/team/app:1', 'example.com', 'example.com/team/app:1'],
      ['team/app:1', 'example.com', 'example.com/team/app:1'],
      ['example.com/app:1', 'local', 'app:1']
    ] as const)
      assert.equal(imageText(nameInGateway(name, domain)), expected, name)
  })
})
