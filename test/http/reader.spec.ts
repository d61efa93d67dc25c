import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { mock } from 'node:test'
import { createReader, PeerGone } from '../../src/http/reader.ts'

describe('one to whom an answer is sent', () => {
  /** An answer whose reader takes what was written when the test says so. */
  class FakeAnswer extends EventEmitter {
    destroyed = false
    socket: object | null = {}
    taken = () => {}
    write(_chunk: Uint8Array, done: () => void): void {
      this.taken = done
    }
    destroy(): void {
      this.destroyed = true
      this.emit('close')
    }
  }

  let now = 0
  const wait = (ms: number) => {
    now += ms
    mock.timers.tick(ms)
  }
  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] })
    mock.method(performance, 'now', () => now)
  })
  afterEach(() => {
    mock.timers.reset()
    mock.restoreAll()
  })

  const open = () => {
    const answer = new FakeAnswer()
    return { answer, reader: createReader(answer as unknown as ServerResponse, 1000) }
  }
  const second = Buffer.alloc(2048) // at the least rate

  it('may take as little as the least rate for as long as it likes, with a pause now and then', async () => {
    const { answer, reader } = open()
    for (let i = 0; i < 50; i++) {
      const written = reader.write(second)
      wait(i % 10 === 0 ? 1900 : 900)
      answer.taken()
      await written
    }
    assert.equal(answer.destroyed, false)
  })

  it('is ended when it takes less than that, though it takes something all the time', async () => {
    const { answer, reader } = open()
    await assert.rejects(async () => {
      for (let i = 0; i < 50; i++) {
        const written = reader.write(second)
        wait(1500)
        answer.taken()
        await written
      }
    }, PeerGone)
    assert.ok(answer.destroyed)
  })

  it('is not held to what is our own doing: time between chunks, and the answers before', async () => {
    const { answer, reader } = open()
    answer.socket = null
    const first = reader.write(second)
    wait(100_000)
    answer.socket = {}
    answer.emit('socket', {})
    wait(500)
    answer.taken()
    await first
    for (let i = 0; i < 5; i++) {
      wait(100_000)
      answer.emit('timeout')
      const written = reader.write(second)
      wait(500)
      answer.taken()
      await written
    }
    assert.equal(answer.destroyed, false)
  })

  it('is ended when nothing at all moves for as long as the server allows', async () => {
    const { answer, reader } = open()
    const written = reader.write(Buffer.alloc(100 * 1024))
    answer.emit('timeout')
    await assert.rejects(written, PeerGone)
    await assert.rejects(reader.write(second), PeerGone)
  })
})
