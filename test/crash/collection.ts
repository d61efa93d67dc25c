/** `gc` through the control socket, as the command does it. */
import { connectControl, controlPath } from '../../src/cli/control.ts'
import { type Model, tick } from './model.ts'

/** What a collection says of itself. */
export type Collected = Record<string, unknown>

/** Whether this build has a collection. */
export async function hasCollection(): Promise<boolean> {
  const { COMMANDS } = (await import('../../src/cli/index.ts')) as { COMMANDS?: readonly { name: string }[] }
  return COMMANDS?.some(({ name }) => name === 'gc') ?? false
}

/** Runs a collection with a grace of `graceMs` in the gateway that has `data`. */
export async function collect(data: string, model: Model, graceMs = 0): Promise<Collected> {
  const operations = await connectControl(controlPath(data))
  if (operations === undefined) throw new Error('no gateway runs here')
  const collector = operations as unknown as Record<
    string,
    (args: object, call: object) => Promise<Collected>
  >
  model.collected = tick()
  try {
    return (
      (await collector['gc']?.(
        { dryRun: false, graceMs },
        { signal: AbortSignal.timeout(60_000), progress: () => {} }
      )) ?? {}
    )
  } finally {
    // What was pushed while it ran may have gone as well.
    model.collected = tick()
  }
}
