/** What is looked at before any route. */
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('a request whose target is a URL without a path', () => {
  let server: RegistryServer
  before(async () => {
    server = await startRegistryServer()
  })
  after(() => server.stop())

  const status = (method: string, target: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port: server.port, method, path: target }, (answer) => {
        answer.resume().once('end', () => resolve(answer.statusCode))
      })
        .once('error', reject)
        .end()
    })

  it('is refused; one with a path is as good as the path', async () => {
    for (const target of ['http://?127.0.0.1/v2/a/blobs/uploads/1', 'http://?'])
      for (const method of ['GET', 'PUT', 'DELETE']) assert.equal(await status(method, target), 400, target)
    assert.equal(await status('GET', 'http://127.0.0.1/v2/'), 200)
  })
})
