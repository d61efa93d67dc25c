import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { endAtNext } from '../src/signals.ts'

describe('a second signal', () => {
  it('ends the program at once, but not the echo of the first by whoever started it', () => {
    const signals = new EventEmitter()
    let ended = 0
    let time = 5000
    endAtNext(
      signals,
      () => ended++,
      () => time
    )
    // npm and the launcher pass Ctrl-C on, which the terminal has sent already
    time += 20
    signals.emit('SIGINT')
    assert.equal(ended, 0)
    time += 2000
    signals.emit('SIGTERM')
    assert.equal(ended, 1)
  })
})
