import { ConfigError } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { type ImageOfDomain, parseImageOfDomain } from '../oci/reference.ts'
import type { Diagnosis, DoctorPart, DoctorStep } from '../registry/index.ts'
import type { Command } from './command.ts'
import { printable, type Screen } from './screen.ts'
import { formatJson, formatTable, paintState } from './terminal.ts'

/** How wide what is looked at is shown at most: a digest or an address is longer. */
const WIDE = 60

/** `seaway doctor [DOMAIN[/REPOSITORY[:TAG]]]` */
export const doctor: Command = {
  name: 'doctor',
  arguments: '[domain[/repository[:tag]]]',
  summary:
    'times each step of a pull from a domain, from TXT record to layers, and says what is wrong and what mends it',
  examples: [
    ['seaway doctor', 'the gateway itself: disk, name servers, its addresses, what is not published'],
    ['seaway doctor example.com', 'a domain as somebody sees it who pulls for the first time'],
    ['seaway doctor example.com/app:1', 'one image of it'],
    ['seaway doctor example.com --json', 'for programs; exit status 1 when a step fails']
  ],
  json: true,
  async run({ operate, print, screen }, [target], { json }) {
    const request = target === undefined ? {} : targetOf(target)
    const found = await operate((operations, call) => operations.doctor(request, call))
    if (json === true) print(formatJson(found))
    else for (const line of textOf(found, screen)) print(line)
    const failed = found.steps.find(({ step }) => step === found.failed)
    if (failed?.trouble !== undefined)
      throw new RegistryError('UNAVAILABLE', `${found.target}: ${failed.step} failed: ${failed.trouble.why}`)
  }
}

function targetOf(text: string): ImageOfDomain {
  try {
    return parseImageOfDomain(text)
  } catch (error) {
    throw new ConfigError(reason(error))
  }
}

/** What was found as people read it: the steps, then what is wrong with them. */
function textOf({ target, steps }: Diagnosis, screen: Screen): string[] {
  const rows = steps.flatMap((step) => [
    [step.state, step.step, step.state === 'skipped' ? '' : milliseconds(step.ms), headOf(step)],
    ...step.parts.map((part) => ['', '', part.ms === undefined ? '' : milliseconds(part.ms), partOf(part)])
  ])
  const troubles = steps.flatMap(({ step, state, trouble }) =>
    trouble === undefined
      ? []
      : [
          '',
          `${screen.paint(step, 'bold')} ${state === 'failed' ? paintState('failed', screen) : 'could be better'} (${trouble.cause})`,
          `  cause  ${printable(trouble.why)}`,
          `  mend   ${printable(trouble.remedy)}`
        ]
  )
  return [target, ...formatTable(['STATE', 'STEP', 'TIME', ''], rows, [2], screen), ...troubles]
}

function headOf({ says, stale, trouble, state }: DoctorStep): string {
  const text = state === 'failed' && trouble !== undefined ? trouble.cause : says
  return stale === true ? `${text} (stale: the last good answer is used)` : text
}

function partOf({ what, ok, says, way, authenticated }: DoctorPart): string {
  const name = what.length > WIDE ? `${what.slice(0, WIDE - 1)}…` : what
  const marks = [way, authenticated === true ? 'DNSSEC' : undefined].filter((mark) => mark !== undefined)
  return `  ${ok ? '+' : '-'} ${name}${marks.length === 0 ? '' : ` (${marks.join(', ')})`}: ${says}`
}

function milliseconds(ms: number): string {
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`
}
