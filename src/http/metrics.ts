import type { Registry } from '../registry/index.ts'
import { type Route, route } from './routes.ts'

/** One measured thing, with the names that tell its values apart. */
interface Metric {
  readonly name: string
  readonly help: string
  readonly values: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]
}

/**
 * What is measured, for Prometheus: how the servers of upstreams are, and how much they still give. It names servers
 * and no images, but tells what an operator's servers are and how much they still give: so it is for admins, where users
 * are asked for. A rule by address would let in whatever comes through a reverse proxy on this machine.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function metricsRoutes(registry: Pick<Registry, 'names'>): readonly Route[] {
  return [
    route('GET', '/metrics', 'how upstreams are, for Prometheus', false, 'admin', async ({ ctx }) => {
      ctx.set('Content-Type', 'text/plain; version=0.0.4; charset=utf-8')
      ctx.body = metricsOf(registry).map(textOf).join('')
    })
  ]
}

function metricsOf({ names }: Pick<Registry, 'names'>): Metric[] {
  const mirrors = (names?.all() ?? []).flatMap(({ domain, mirrors: list }) =>
    list().map(({ url, failure, limits }) => {
      const source = limits['docker-ratelimit-source']
      const labels = { domain, url, ...(source !== undefined && { source }) }
      return { labels: { domain, url }, limited: labels, failure, limits }
    })
  )
  /** `100;w=21600` is 100 in 21600 seconds. */
  const limit = (header: string) =>
    mirrors.flatMap(({ limited, limits }) => {
      const number = /^\d+/.exec(limits[header] ?? '')?.[0]
      return number === undefined ? [] : [{ labels: limited, value: Number(number) }]
    })
  return [
    {
      name: 'seaway_upstream_up',
      help: 'Whether a server of an upstream is asked: 0 while it is left alone because it failed or said so.',
      values: mirrors.map(({ labels, failure }) => ({ labels, value: failure === undefined ? 1 : 0 }))
    },
    {
      name: 'seaway_upstream_ratelimit_limit',
      help: 'Pulls that a server of an upstream gives in its window, as it said last.',
      values: limit('ratelimit-limit')
    },
    {
      name: 'seaway_upstream_ratelimit_remaining',
      help: 'Pulls that a server of an upstream still gives, as it said last.',
      values: limit('ratelimit-remaining')
    }
  ]
}

function textOf({ name, help, values }: Metric): string {
  const lines = values.map(({ labels, value }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`)
    return `${name}{${pairs.join(',')}} ${value}\n`
  })
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join('')}`
}

const escaped = (text: string): string => text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
