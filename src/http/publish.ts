import { parseDomain } from '../oci/reference.ts'
import type { Registry } from '../registry/index.ts'
import { type Route, route } from './routes.ts'

/**
 * Publishing over HTTP, for whoever has the right to: what `seaway publish` does for the operator. Only where users are
 * asked for: any web page can make a browser send a POST to an address of its own machine.
 */
export function publishRoutes(publishing: Registry['publishing']): readonly Route[] {
  return [
    route(
      'POST',
      '/v2/_seaway/publish/:domain',
      "publishes a domain's current root as `SEAWAY_PUBLISHERS` says; where users are asked for",
      true,
      'publish',
      async ({ ctx, signal }) => {
        const domain = parseDomain(String(ctx['params']?.domain ?? ''))
        const { root, outcome, records } = await publishing.publish(
          { domain },
          { signal, report: () => undefined }
        )
        ctx.body = { domain, root, outcome, records: records.map(({ plain }) => plain) }
      }
    )
  ]
}
