import { IMAGE_SHAPES } from './json-images.ts'
import type { JsonField, JsonShape } from './json-types.ts'

const TRAFFIC = '{fromClients, toClients, fromPeers, toPeers} in bytes'
const KEY: readonly JsonField[] = [
  ['domain', 'text', ''],
  ['name', 'IPNS name', ''],
  ['retired', 'yes or no', '']
]

const TOKEN: readonly JsonField[] = [
  ['id', 'text', ''],
  ['name', 'text', 'what it is for'],
  ['repositories', 'list of text', 'globs'],
  ['can', 'list of text', '`pull`, `push`, `delete`, `publish`, `admin`'],
  ['created', 'number', 'milliseconds since 1970'],
  ['expires?', 'number', 'likewise; missing where it holds until it is revoked']
]

const TAGS = 'list of {repository, tag, base?, ours?, theirs?}'

/**
 * What `--json` prints, by command. Fields are only ever added: what stands here stays. README's table is generated from
 * it, and `test/e2e/cli-look.spec.ts` holds it against what is printed.
 */
export const JSON_SHAPES: Readonly<Record<string, JsonShape>> = {
  ...IMAGE_SHAPES,
  root: {
    fields: [
      ['domain', 'text', ''],
      ['root', 'CID', 'of its tree']
    ]
  },
  history: {
    list: true,
    fields: [
      ['n', 'number', 'as in `example.com@N`'],
      ['root', 'CID', ''],
      ['at', 'time', 'when it was published'],
      ['current', 'yes or no', "whether it is the domain's root now"],
      ['changes', 'list', '{image, change} since the one before'],
      ['more', 'number', 'changes beside those']
    ]
  },
  'history --restore': {
    fields: [
      ['domain', 'text', ''],
      ['root', 'CID', 'which is the current one again']
    ]
  },
  rm: {
    fields: [
      ['dryRun', 'yes or no', 'whether nothing was removed'],
      ['removed', 'list of text', 'images, as clients name them']
    ]
  },
  gc: {
    fields: [
      ['dryRun', 'yes or no', 'whether nothing was removed'],
      ['tags', 'list', '{image, pushed} that retention does not keep'],
      ['manifests', 'list', '{domain, repository, digest, tags}'],
      ['blobs', 'list', '{digest, size, why}'],
      ['unlisted', 'number', 'what went beside those listed'],
      ['freed', 'object', '{blobs, blobBytes, rows, rowBytes, files, fileBytes, bytes}'],
      ['waiting', 'object', '{blobs, bytes} within the grace window'],
      ['cachedBytes', 'bytes', 'cached content that no tree here needs']
    ]
  },
  verify: {
    fields: [
      ['startedAt', 'time', 'of the first run, where this one went on'],
      ['resumed', 'yes or no', 'whether it went on'],
      ['blobs', 'number', 'that were read'],
      ['blocks', 'number', 'small ones that were read'],
      ['bytes', 'bytes', 'that were read'],
      ['mended', 'number', 'rows of the index that were worked out again'],
      ['damaged', 'number', 'damaged parts'],
      ['found', 'list', '{id, size, damaged, foundBy, state, outcome, …}: what was set aside'],
      ['bad', 'number', 'of those, needed and not repaired'],
      ['rootless', 'list of text', "domains whose tree's root can't be had"]
    ]
  },
  usage: {
    fields: [
      [
        'store',
        'object',
        `{used, limit?, percent?, pushed, cached, cacheLimit?, index, incoming, quarantine, free, today, month}; the last two ${TRAFFIC}`
      ],
      [
        'domains',
        'list',
        '{name, images, tags, asPushed, onDisk, saved, elsewhere, incomplete?, today, month, limit?, percent?}'
      ],
      ['repositories', 'list', 'the same without limits'],
      ['more', 'yes or no', 'whether there are more repositories'],
      ['warnings', 'list of text', 'what is at 80 % of its limit or beyond']
    ]
  },
  'pin ls': {
    list: true,
    fields: [
      ['root', 'CID', ''],
      ['name', 'text', 'what it was called'],
      ['at', 'time', 'since when']
    ]
  },
  'pin add': {
    fields: [
      ['root', 'CID', ''],
      ['name', 'text', 'what it was called'],
      ['at', 'time', 'since when'],
      ['blobs', 'number', 'that are here'],
      ['bytes', 'bytes', 'that are here'],
      ['elsewhere', 'number', 'blobs that are not'],
      ['partial', 'yes or no', 'whether directories of the tree are not here']
    ]
  },
  'pin rm': {
    fields: [
      ['root', 'CID', 'that is not pinned any more'],
      ['name', 'text', 'what it was called'],
      ['at', 'time', 'since when it was pinned']
    ]
  },
  'key list': { list: true, fields: KEY },
  'key create, key import': { fields: KEY },
  'key export': {
    fields: [
      ['domain', 'text', ''],
      ['file', 'text', 'where the key is']
    ]
  },
  'key rotate': {
    fields: [
      ['old', 'object', '{domain, name, retired}'],
      ['now', 'object', 'the same of the new one']
    ]
  },
  sync: {
    fields: [
      ['domain', 'text', ''],
      ['base?', 'CID', 'what both come from'],
      ['local?', 'CID', 'our root before'],
      ['published?', 'CID', ''],
      ['root?', 'CID', 'our root afterwards'],
      ['outcome', 'text', '`current`, `synced` or `dry`'],
      ['taken', 'list', TAGS],
      ['kept', 'list', TAGS],
      ['conflicts', 'list', TAGS],
      ['prefer?', 'text', '`ours` or `theirs`']
    ]
  },
  publish: {
    fields: [
      ['domain', 'text', ''],
      ['root', 'CID', ''],
      ['records', 'list', '{name, type, ttl, strings}'],
      ['ipns?', 'IPNS name', ''],
      ['before?', 'CID', 'what was published before'],
      ['outcome', 'text', '`published`, `unchanged` or `printed`'],
      ['via?', 'text', 'by what'],
      ['servers', 'list', 'what the resolvers said: {server, agrees, …}'],
      ['advice', 'list of text', '']
    ]
  },
  prefetch: {
    list: true,
    fields: [
      ['image', 'text', ''],
      ['digest?', 'digest', 'of its manifest or index'],
      ['bytes', 'bytes', 'what it takes'],
      ['fetched', 'bytes', 'of those, what was brought here'],
      ['stale?', 'text', 'why it may be older than what is there now'],
      ['error?', 'text', 'why it could not be brought']
    ]
  },
  provide: {
    fields: [
      ['enabled', 'yes or no', 'whether there is a network to tell'],
      ['running?', 'object', '{done, total}'],
      ['waiting', 'number', ''],
      ['last?', 'object', '{at, told, failed}; times in milliseconds since 1970'],
      ['next?', 'number', 'time']
    ]
  },
  'token list': { list: true, fields: TOKEN },
  'token create': { fields: [...TOKEN, ['secret', 'text', 'what is shown at a login; it is told once']] },
  'token revoke': { fields: TOKEN },
  'login-user': {
    fields: [
      ['name', 'text', ''],
      ['file', 'text', 'where users are'],
      ['known?', 'yes or no', 'whether there was such a user before'],
      ['removed?', 'yes or no', 'with `--remove`']
    ]
  },
  whoami: {
    fields: [
      ['name', 'text', 'whom the credentials stand for'],
      ['kind', 'text', '`user`, `token`, `external` or `anonymous`'],
      ['rights', 'list', '{repositories, can}: globs, and what may be done there']
    ]
  },
  'access check': {
    fields: [
      ['allowed', 'yes or no', ''],
      ['why', 'text', 'which rule says so']
    ]
  },
  setup: {
    fields: [
      ['client', 'text', ''],
      ['path', 'text', 'of the file'],
      ['content', 'text', 'of the file'],
      ['written', 'yes or no', ''],
      ['backup?', 'text', 'where what was there before is'],
      ['afterwards', 'list of text', 'what is to be done then'],
      ['tried?', 'object', '{image, digest?, failure?}']
    ]
  },
  doctor: {
    fields: [
      ['version', 'number', '1'],
      ['target', 'text', ''],
      ['ok', 'yes or no', ''],
      ['failed?', 'text', 'the step that failed'],
      ['steps', 'list', 'see "When something goes wrong"']
    ]
  }
}
