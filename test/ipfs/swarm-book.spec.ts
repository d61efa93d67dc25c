import assert from 'node:assert/strict'
import { createSwarmBook, type SwarmBook } from '../../src/ipfs/swarm-book.ts'

describe('the book of who fetches what', () => {
  let book: SwarmBook
  let away: Set<string>

  beforeEach(() => {
    away = new Set()
    book = createSwarmBook((peer) => !away.has(peer))
  })

  /** Enters, and says who is named. */
  function enter(peer: string, file = 'file') {
    const entered = book.enter(file, peer)
    assert.ok(entered)
    return entered
  }
  const named = (peer: string, file?: string) => enter(peer, file).others

  it('names nobody to the first, and to each after it the one before, who feeds nobody yet', () => {
    assert.deepEqual(named('a'), [])
    assert.equal(named('b')[0], 'a')
    assert.equal(named('c')[0], 'b')
    assert.equal(named('d')[0], 'c')
  })

  it('names three at most, and never the one who asks', () => {
    for (const peer of ['a', 'b', 'c', 'd', 'e']) enter(peer)
    assert.equal(named('f').length, 3)
    assert.ok(!named('b').includes('b'))
  })

  it('names those of the same file only', () => {
    enter('a', 'one')
    assert.deepEqual(named('b', 'other'), [])
  })

  it('forgets one that ended before it had the file', () => {
    enter('a').lease.end()
    enter('b')
    assert.deepEqual(named('c'), ['b'])
  })

  it('names nobody when nobody is fetching: our own link is free', () => {
    const { lease } = enter('a')
    lease.complete()
    lease.end()
    assert.deepEqual(named('b'), [])
  })

  it('names one that has the file to those who come while another fetches', () => {
    const { lease } = enter('a')
    lease.complete()
    lease.end()
    enter('b')
    assert.deepEqual(named('c').toSorted(), ['a', 'b'])
  })

  it('gives a place free again when the one who was fed there has ended', () => {
    enter('a')
    const { lease } = enter('b')
    lease.end()
    assert.equal(named('c')[0], 'a')
  })

  it('does not name those who are not connected', () => {
    enter('a')
    enter('b')
    away.add('b')
    assert.deepEqual(named('c'), ['a'])
  })

  it('does not name one that offers nothing', () => {
    book.enter('file', 'a', false)
    assert.deepEqual(named('b'), [])
    assert.deepEqual(named('c'), ['b'])
  })

  it('lets a chain grow to a limit, and begins another then', () => {
    const depth = new Map<string, number>()
    for (let i = 0; i < 100; i++) {
      const [parent] = named(`${i}`)
      depth.set(`${i}`, parent === undefined ? 0 : (depth.get(parent) ?? 0) + 1)
    }
    assert.ok(Math.max(...depth.values()) <= 32)
  })

  it('lets one peer stand for a limited number of files', () => {
    for (let i = 0; i < 64; i++) enter('a', `file ${i}`)
    assert.equal(book.enter('one more', 'a'), undefined)
    assert.ok(book.enter('one more', 'b'))
  })

  it('holds a limited number of peers for a file', () => {
    for (let i = 0; i < 1000; i++) enter(`peer ${i}`)
    assert.equal(named('last').length, 3)
  })
})
