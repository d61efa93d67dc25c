import assert from 'node:assert/strict'
import { patterns } from '../../src/cli/images.ts'
import { comparing, listOptions, type Order } from '../../src/cli/images-options.ts'
import { ConfigError } from '../../src/config.ts'
import type { ImageSummary } from '../../src/registry/look-summary.ts'

const NOW = Date.parse('2026-06-10T00:00:00Z')
const DAY = 86_400_000

describe('the options of lists', () => {
  it('are read into a filter', () => {
    const { filter, order, limit } = listOptions(
      {
        label: ['team=web', 'stage'],
        platform: 'linux/arm/v7',
        older: '30d',
        newer: '2026-01-31',
        larger: '1MB',
        smaller: '1GiB',
        sort: 'size',
        limit: '5'
      },
      NOW
    )
    assert.deepEqual(filter, {
      labels: ['team=web', 'stage'],
      platform: 'linux/arm/v7',
      olderThan: NOW - 30 * DAY,
      newerThan: Date.parse('2026-01-31'),
      largerThan: 1_000_000,
      smallerThan: 2 ** 30
    })
    assert.deepEqual([order, limit], ['size', 5])
    assert.deepEqual(listOptions({}).filter, {})
  })

  it('are refused with what would be right', () => {
    const cases: Record<string, [string, RegExp]> = {
      platform: ['linux', /linux\/amd64/],
      older: ['long', /30d/],
      newer: ['2026-99-99', /2026-01-31/],
      larger: ['5', /500MB/],
      sort: ['luck', /name, version/],
      limit: ['0', /from 1 on/]
    }
    for (const [name, [value, message]] of Object.entries(cases))
      assert.throws(
        () => listOptions({ [name]: value }),
        (error: unknown) => error instanceof ConfigError && message.test(error.message),
        name
      )
  })

  it('have a glob for names, and one behind a colon for tags', () => {
    assert.deepEqual(patterns(undefined), {})
    assert.deepEqual(patterns('example.com/*'), { repositories: 'example.com/*' })
    assert.deepEqual(patterns('a/**:v1.*'), { repositories: 'a/**', tags: 'v1.*' })
  })

  it('order images; what is not known comes last, and equals by name', () => {
    const images: ImageSummary[] = [
      { repository: 'b', tag: '1.10', size: 5, layers: 1, created: '2026-01-01T00:00:00Z' },
      { repository: 'b', tag: '1.9', size: 7, layers: 1, created: '2026-02-01T00:00:00+02:00' },
      { repository: 'a', tag: 'x' },
      { repository: 'c', tag: '1', size: 5, layers: 3, created: 'some day' }
    ]
    const cases: [Order, boolean, string[]][] = [
      ['name', false, ['x', '1.10', '1.9', '1']],
      ['name', true, ['1', '1.9', '1.10', 'x']],
      ['version', false, ['x', '1.9', '1.10', '1']],
      ['size', false, ['1.9', '1.10', '1', 'x']],
      ['size', true, ['1.10', '1', '1.9', 'x']],
      ['layers', false, ['1', '1.10', '1.9', 'x']],
      ['created', false, ['1.9', '1.10', 'x', '1']]
    ]
    for (const [order, reverse, tags] of cases)
      assert.deepEqual(
        images.toSorted(comparing(order, reverse)).map(({ tag }) => tag),
        tags,
        `${order}${reverse ? ', reversed' : ''}`
      )
  })
})
