import assert from 'node:assert/strict'
import { misnamed } from '../src/access.ts'
import { createNames } from '../src/upstream/names.ts'

describe('rules that name what nothing is called by', () => {
  it('are told of at the start, with what to write', () => {
    const names = createNames({ settings: new Map() })
    const right = [
      '**',
      'docker.io/**',
      '!docker.io/library/app',
      'docker.io/acme/app',
      'example.com/app',
      'app',
      'ipfs/**'
    ]
    const wrong = ['!docker.io/app', 'index.docker.io/**', '!index.docker.io/app']
    assert.deepEqual(misnamed([{ what: 'rule 1', repositories: right }], names), [])
    assert.deepEqual(misnamed([{ what: 'rule 2', repositories: wrong }], names), [
      'rule 2 says !docker.io/app, which nothing is called by: write !docker.io/library/app',
      'rule 2 says index.docker.io/**, which nothing is called by: write docker.io/**',
      'rule 2 says !index.docker.io/app, which nothing is called by: write !docker.io/library/app'
    ])
  })
})
