import type { JsonField, JsonShape } from './json-types.ts'

const SUMMARY: readonly JsonField[] = [
  ['image', 'text', 'its name, as other commands take it'],
  ['repository', 'text', 'as the source calls it'],
  ['tag?', 'text', 'missing where not even the tags of the repository could be read'],
  ['digest?', 'digest', 'what the tag points at'],
  ['mediaType?', 'text', 'of the manifest; this and all below are missing with `--quiet`'],
  ['type?', 'text', '`image`, `index` or `artifact`'],
  ['artifactType?', 'text', 'of an artifact'],
  [
    'platforms?',
    'list',
    '{platform, digest, size?, layers?, created?, problem?}, one for each image of an index'
  ],
  [
    'size?',
    'bytes',
    'config and layers, compressed, each once; of the platform that was asked for, or of all'
  ],
  ['layers?', 'number', 'layers, each once'],
  ['created?', 'time', 'as the config says, else the annotation `org.opencontainers.image.created`'],
  ['labels?', 'object', 'of the config, of the first platform or the one that was asked for'],
  ['problem?', 'text', 'why something is missing']
]

/** What commands print that list images, look at them or move them. */
export const IMAGE_SHAPES: Readonly<Record<string, JsonShape>> = {
  'images, tags': { list: true, fields: SUMMARY },
  'images --count, tags --count': {
    fields: [
      ['repositories', 'number', 'repositories with a tag that was wanted'],
      ['tags', 'number', 'such tags'],
      ['images', 'number', 'different digests that they point at']
    ]
  },
  inspect: {
    fields: [
      ['image', 'text', 'its name, as other commands take it'],
      ['source', 'text', 'where it was found, in words'],
      ['root?', 'CID', 'of the tree in which it was found'],
      ['repository', 'text', 'as it was asked for'],
      ['tag?', 'text', 'as it was asked for'],
      ['digest', 'digest', 'of the manifest'],
      ['cid?', 'CID', 'of the manifest'],
      ['mediaType', 'text', 'of the manifest'],
      ['type', 'text', '`image`, `index` or `artifact`'],
      ['artifactType?', 'text', 'of an artifact'],
      ['subject?', 'digest', 'of the manifest that it refers to'],
      ['annotations', 'object', 'of the manifest'],
      [
        'platforms',
        'list',
        '{platform, digest, cid?, here?, config?, about?, layers, size, problem?}; config and layers are {digest, mediaType, size, cid?, here?, step?}; `here`: in this store; `about`: {created?, author?, platform?, user?, env, entrypoint, cmd, workingDir?, ports, volumes, labels, steps}'
      ],
      [
        'referrers?',
        'list',
        '{mediaType, digest, size, artifactType?, annotations?}: signatures, SBOMs; missing where the source could not say'
      ],
      [
        'providers',
        'list',
        '{address, from, connected?}: multiaddrs or URLs, and who says so: `record`, `setting`, `registry`'
      ],
      ['manifest', 'object', 'as it is; `--raw` prints its bytes']
    ]
  },
  'diff (roots)': {
    fields: [
      ['before', 'text', 'the first source'],
      ['after', 'text', 'the second source'],
      ['counts', 'object', '{added, changed, removed} of those listed'],
      [
        'changes',
        'list',
        '{repository, tag, change, before?, after?, layers?, problem?}; `change` is `added`, `changed` or `removed`; `layers`: {same, added, removed, bytesAdded, bytesRemoved}, without `--tags`'
      ],
      ['more', 'number', 'changes beyond `--limit`']
    ]
  },
  'diff (images)': {
    fields: [
      ['before', 'object', '{image, digest}'],
      ['after', 'object', '{image, digest}'],
      ['same', 'yes or no', 'whether the digests are equal'],
      ['layers', 'list', '{change, digest, size, cid?}; `change` is `same`, `added` or `removed`'],
      [
        'config',
        'list',
        '{field, before?, after?} of what configs say otherwise: `cmd`, `env.PATH`, `labels.version`'
      ]
    ]
  },
  'push, pull, copy, import, export (oci:)': {
    fields: [
      ['version', 'number', '1'],
      [
        'images',
        'list',
        '{image, to, digest}: what was moved, where it is now, and the digest of its manifest; of its config, an image id, from an engine or archive into another one'
      ],
      [
        'moved',
        'object',
        '{blobs, skipped, bytes, skippedBytes}: what went over, and what the other side had already'
      ],
      ['roots', 'object', "the root of each of the gateway's domains that something went into, by domain"]
    ]
  },
  'export (CAR)': {
    fields: [
      ['version', 'number', '1'],
      ['name', 'text', 'what was exported, as it was asked for'],
      ['file', 'text', 'where it is'],
      ['root', 'CID', 'of the CAR'],
      ['blocks', 'number', 'in the CAR'],
      ['bytes', 'bytes', 'of the CAR'],
      ['resumed', 'bytes', 'that an earlier command had written already']
    ]
  }
}
