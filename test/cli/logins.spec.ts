import assert from 'node:assert/strict'
import { userAt } from '../../src/cli/logins.ts'

describe('--user', () => {
  it('is of the one server that is named, or says of which', () => {
    for (const [text, hosts, user, host] of [
      ['alice', ['quay.io'], 'alice', 'quay.io'],
      ['alice@quay.io', ['quay.io'], 'alice', 'quay.io'],
      ['alice@example.com', ['quay.io'], 'alice@example.com', 'quay.io'],
      ['alice@quay.io', ['registry.example:5000', 'quay.io'], 'alice', 'quay.io'],
      ['a@b@registry.example:5000', ['registry.example:5000', 'quay.io'], 'a@b', 'registry.example:5000'],
      ['alice@docker.io', ['registry-1.docker.io', 'quay.io'], 'alice', 'registry-1.docker.io']
    ] as const)
      assert.deepEqual(userAt(text, hosts), { user, host }, text)
  })

  it('is refused where it is not clear whose it is, and with a password', () => {
    for (const [text, hosts, says] of [
      ['alice', [], /neither is named/],
      ['alice', ['a.example', 'b.example'], /write --user alice@b\.example, and docker login for the rest/],
      ['alice@c.example', ['a.example', 'b.example'], /may be one of a\.example or of b\.example/],
      ['alice:secret', ['a.example'], /is a name alone/],
      ['alice:secret@a.example:5000', ['a.example:5000'], /is a name alone/],
      ['', ['a.example'], /names nobody/]
    ] as const)
      assert.throws(
        () => userAt(text, hosts),
        (error: Error) =>
          error.name === 'ConfigError' && says.test(error.message) && !/secret/.test(error.message),
        text
      )
  })
})
