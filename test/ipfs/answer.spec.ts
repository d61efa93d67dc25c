import assert from 'node:assert/strict'
import { type AnswerHead, createAnswerIntake } from '../../src/ipfs/answer.ts'
import { type BodyIntake, offer } from '../../src/ipfs/intake.ts'

describe('ipfs: reading HTTP answers', () => {
  /** Takes answers, their bodies in pieces of `room` bytes at most. */
  function reader(room = 1000) {
    const answers: { head: AnswerHead; body: string; last?: boolean }[] = []
    const memory = Buffer.alloc(room)
    const intake = createAnswerIntake({
      head(head) {
        const answer = { head, body: '' }
        answers.push(answer)
        const body: BodyIntake = {
          room: () => memory,
          took: (count) => void (answer.body += memory.toString('latin1', 0, count)),
          drained: () => true
        }
        return body
      },
      end(last) {
        const answer = answers.at(-1)
        if (answer !== undefined) answer.last = last
      }
    })
    return { answers, intake }
  }

  function read(text: string, size: number, room?: number) {
    const { answers, intake } = reader(room)
    const bytes = Buffer.from(text, 'latin1')
    for (let at = 0; at < bytes.length; at += size) {
      const piece = bytes.subarray(at, at + size)
      assert.equal(offer(intake, piece), piece.length)
    }
    intake.room()
    return { answers, intake }
  }

  const long = 'abcdefghij'.repeat(20_000)
  const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n30d40;x=y\r\n${long}\r\n0\r\nTrailer: 1\r\n\r\n`
  const sized = `HTTP/1.1 200 OK\r\ncontent-length: ${long.length}\r\n\r\n${long}`
  const none = 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'

  for (const size of [1, 7, 1000, 1_000_000]) {
    for (const room of [1, 1000, 300_000]) {
      it(`one after another, in pieces of ${size} bytes into ${room}`, () => {
        const early = 'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n'
        const { answers } = read(`${early}${chunked}${sized}${none}${sized}`, size, room)
        assert.deepEqual(
          answers.map(({ body, last }) => [body.length, last]),
          [
            [long.length + 5, false],
            [long.length, false],
            [0, false],
            [long.length, false]
          ]
        )
        assert.ok(answers[0]?.body === `hello${long}`)
        assert.ok(answers[3]?.body === long)
        assert.equal(answers[1]?.head.headers.get('content-length'), String(long.length))
      })
    }
  }

  it('to the end of the connection', () => {
    const { answers, intake } = read('HTTP/1.0 200 OK\r\n\r\nto the end', 3)
    intake.closed()
    assert.deepEqual([answers[0]?.body, answers[0]?.last], ['to the end', true])
  })

  for (const text of [sized.slice(0, 5000), chunked.slice(0, 5000), 'HTTP/1.1 200 O']) {
    it(`that breaks off: ${text.slice(0, 40)}…`, () => {
      const { intake } = read(text, 100)
      assert.throws(() => intake.closed(), /in the middle/)
    })
  }

  const bad: [string, string][] = [
    ['SSH-2.0-OpenSSH\r\n\r\n', 'no HTTP'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n', 'two lengths'],
    ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 'a length that is none'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n', 'both framings'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n', 'another coding'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'a chunk without a size'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n', 'a chunk that is too long'],
    ['HTTP/1.1 200 OK\r\nno header\r\n\r\n', 'a header that is none'],
    [`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(20_000)}`, 'a head without an end'],
    ['HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nxy', 'more than it said']
  ]
  for (const [text, what] of bad) {
    it(`with ${what} is refused`, () => assert.throws(() => read(text, 50), { name: 'PeerFault' }))
  }
})
