/** The requests of a fuzz run: most of them nearly right, since plain nonsense is refused at the door. */
import { digestOf } from '../support/oci-client.ts'
import { mangleJson, perhaps, type Random } from './random.ts'

/** What one connection knows of what went before on it. */
export interface Memory {
  /** Where its last upload goes on. */
  location: string
  /** The root of the local tree. */
  root: string
}

const NAMES = [
  'app',
  'team/app',
  'a/b/c/d',
  'example.com/app',
  'x.example.org/team/app',
  'local/app',
  'new/one'
]
const TAGS = ['1', 'latest', 'v1.2.3', 'a-b_c.d', 'x'.repeat(128)]
const BLOBS = ['', 'abc', '{}', '{"architecture":"amd64","os":"linux"}', 'x'.repeat(5000)]
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'LINK']
const OCI = 'application/vnd.oci.image'
const DOCKER = 'application/vnd.docker.distribution.manifest'
const TYPES = [
  `${OCI}.manifest.v1+json`,
  `${OCI}.index.v1+json`,
  `${DOCKER}.v2+json`,
  `${DOCKER}.list.v2+json`
]
TYPES.push(`${DOCKER}.v1+prettyjws`, 'application/json', 'text/plain; charset=x', '')
const NUMBERS = ['0', '1', '2', '100', '10000', '99999999999999999999', '-1', 'x', '', '1.5']

/** Request `random` of a run, as bytes. */
export function requestOf(random: Random, memory: Memory): Buffer {
  const name = (): string => {
    if (random.oneIn(10)) return perhaps(random, `ipfs/${memory.root}/app`, 6)
    return perhaps(random, random.pick(NAMES), 6)
  }
  const digest = (): string =>
    perhaps(random, digestOf(random.pick(BLOBS), random.pick(['sha256', 'sha512'])), 6)
  const tag = (): string => perhaps(random, random.pick(TAGS), 6)
  const reference = (): string => (random.oneIn(3) ? digest() : tag())
  const body = random.pick(BLOBS)
  const headers: Record<string, string> = {}
  let method: string
  let path: string
  let content: string | undefined
  switch (random.below(12)) {
    case 0:
      method = random.pick(METHODS)
      path = perhaps(
        random,
        random.pick(['/', '/v2/', '/v2', '/v2/_catalog', '/ipfs/', `/ipfs/${memory.root}`]),
        3
      )
      break
    case 1:
      method = 'GET'
      path = `/v2/${name()}/tags/list${query(random, { n: random.pick(NUMBERS), last: tag() })}`
      break
    case 2:
      method = 'GET'
      path = `/v2/${random.oneIn(2) ? '' : `${name()}/`}_catalog${query(random, { n: random.pick(NUMBERS), last: name() })}`
      break
    case 3:
      method = random.pick(['GET', 'HEAD'])
      path = `/v2/${name()}/referrers/${digest()}${query(random, { n: random.pick(NUMBERS), artifactType: tag(), last: digest() })}`
      break
    case 4:
      method = random.pick(['GET', 'HEAD', 'DELETE'])
      path = `/v2/${name()}/manifests/${reference()}`
      if (random.oneIn(3)) headers['if-none-match'] = perhaps(random, `"${digest()}"`, 3)
      break
    case 5:
    case 6:
      method = 'PUT'
      path = `/v2/${name()}/manifests/${reference()}${query(random, { tag: tag() })}`
      headers['content-type'] = perhaps(random, random.pick(TYPES), 8)
      content = perhaps(
        random,
        JSON.stringify(random.oneIn(2) ? manifest(random) : mangleJson(random, manifest(random))),
        12
      )
      break
    case 7:
      method = random.pick(['GET', 'HEAD', 'GET', 'DELETE'])
      path = `/v2/${name()}/blobs/${digest()}`
      headers['range'] = perhaps(random, `bytes=${random.pick(NUMBERS)}-${random.pick(NUMBERS)}`, 4)
      break
    case 8:
      method = 'POST'
      path = `/v2/${name()}/blobs/uploads/${query(random, { digest: digest(), mount: digest(), from: name(), 'digest-algorithm': tag() })}`
      content = random.oneIn(2) ? body : undefined
      break
    case 9:
      method = random.pick(['PATCH', 'PATCH', 'GET', 'PUT', 'DELETE'])
      path = perhaps(random, memory.location, 8)
      content = body
      if (random.oneIn(2))
        headers['content-range'] = perhaps(random, `${random.pick(NUMBERS)}-${random.pick(NUMBERS)}`, 5)
      break
    case 10:
      method = 'PUT'
      path = `${perhaps(random, memory.location, 12)}?digest=${random.oneIn(2) ? digestOf(body) : digest()}`
      content = body
      break
    default:
      method = random.pick(METHODS)
      path = perhaps(
        random,
        `/v2/${name()}/${random.pick(['tags/list', 'blobs/uploads/', 'manifests/', 'blobs/'])}${reference()}`,
        3
      )
  }
  if (random.oneIn(15)) path += `${path.includes('?') ? '&' : '?'}ns=${perhaps(random, 'example.com', 3)}`
  if (random.oneIn(30)) path = `http://${perhaps(random, '127.0.0.1', 2)}${path}`
  if (random.oneIn(40)) method = random.pick(METHODS)
  return encode(random, method, path, headers, content)
}

function query(random: Random, parameters: Record<string, string>): string {
  const chosen = Object.entries(parameters).filter(() => random.oneIn(3))
  return chosen.length === 0 ? '' : `?${chosen.map(([key, value]) => `${key}=${value}`).join('&')}`
}

function manifest(random: Random): unknown {
  const mediaType = random.pick(TYPES)
  const descriptor = (content: string, type: string) => ({
    mediaType: type,
    digest: digestOf(content),
    size: Buffer.byteLength(content)
  })
  const subject = random.oneIn(4) ? { subject: descriptor('{}', TYPES[0] ?? '') } : {}
  if (random.oneIn(4)) return { schemaVersion: 2, mediaType, manifests: [], ...subject }
  return {
    schemaVersion: 2,
    mediaType,
    config: descriptor('{}', `${OCI}.config.v1+json`),
    layers: random.oneIn(2) ? [descriptor('abc', `${OCI}.layer.v1.tar`)] : [],
    annotations: { mark: String(random.below(50)) },
    ...subject
  }
}

function encode(
  random: Random,
  method: string,
  path: string,
  headers: Record<string, string>,
  content: string | undefined
): Buffer {
  const host = random.oneIn(20) ? perhaps(random, 'example.com:5000', 2) : '127.0.0.1'
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, 'Connection: close']
  for (const [key, value] of Object.entries(headers)) lines.push(`${key}: ${value}`)
  if (random.oneIn(25)) lines.push(perhaps(random, 'X-Something: else', 2))
  let body = content ?? ''
  if (content !== undefined && random.oneIn(4)) {
    lines.push('Transfer-Encoding: chunked')
    const chunk = `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n`
    body = perhaps(random, `${body === '' ? '' : chunk}0\r\n\r\n`, 12)
    if (random.oneIn(20)) lines.push('Content-Length: 3')
  } else if (content !== undefined || random.oneIn(2)) {
    lines.push(`Content-Length: ${random.oneIn(40) ? random.pick(NUMBERS) : Buffer.byteLength(body)}`)
  }
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, random.oneIn(2) ? 'utf8' : 'latin1')
  return Buffer.concat([head, Buffer.from(body)])
}
