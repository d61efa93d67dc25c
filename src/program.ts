/** What the program does: the command line, and the one place where the rooms are put together; signals arrive here. */
import { setFlagsFromString } from 'node:v8'
import type { CID } from 'multiformats/cid'
import { connectControl, controlPath } from './cli/control.ts'
import { type Call, type Operations, runCommandLine } from './cli/index.ts'
import { createScreen } from './cli/screen.ts'
import { createProgressLine } from './cli/terminal.ts'
import { type Config, readConfig } from './config.ts'
import type { Log } from './log.ts'
import { RegistryError } from './oci/errors.ts'
import { endAtNext, SIGNALS } from './signals.ts'

/**
 * What the heap's old part may grow by until it is collected, in percent of what was in use. V8 would have up to four
 * times as much, which caches whose content changes all the time fill up. A start goes without: what it loads stays.
 */
const HEAP_GROWTH = 60

/** Roots that follow each other within this time are one push (an index comes with its children): the last is printed. */
const PRINT_AFTER = 200

/** Why what was printed couldn't be written, but for want of a reader. */
let unprinted: Error | undefined

// A reader may go away (`| head`), a disk be full: a gateway serves on, and so does all else that is under way.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') unprinted ??= error
})
// There is nowhere left to say it.
process.stderr.on('error', () => undefined)

const line = createProgressLine(process.stderr)

const print = (text: string) => {
  line.clear()
  process.stdout.write(`${text}\n`)
}

/** Runs the gateway until a signal comes; a second one ends the process at once. */
async function serve(config: Config, log: Log): Promise<void> {
  // Loaded here because commands that only look something up need none of it, and it takes most of a start.
  const [{ startGateway }, { publishedText, readyText, rootText }] = await Promise.all([
    import('./gateway.ts'),
    import('./announce.ts')
  ])
  const gateway = await startGateway(config, log)
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH}`)
  const timers = new Map<string, NodeJS.Timeout>()
  const announce = async (domain: string, root: CID) => {
    // What is printed may be published by hand: it is kept.
    await gateway.registry.history.note(domain, root).catch((error: unknown) => {
      log.error({ domain, err: error }, 'could not note a root, so it may be collected')
    })
    print(rootText(domain, root, await gateway.providersOf(domain)))
  }
  gateway.registry.onRoot((domain, root) => {
    clearTimeout(timers.get(domain))
    timers.set(
      domain,
      setTimeout(() => void announce(domain, root), PRINT_AFTER)
    )
  })
  gateway.registry.autoPublisher.onOutcome((outcome) => print(publishedText(outcome)))
  print(readyText(gateway.listening, gateway.addresses(), config))
  const signal = await new Promise<NodeJS.Signals>((resolve) => {
    for (const name of SIGNALS) process.once(name, resolve)
  })
  endAtNext(process, () => process.exit(1))
  log.info({ signal }, 'stopping')
  for (const timer of timers.values()) clearTimeout(timer)
  await gateway.stop()
}

/** Runs `work` with its progress on the terminal. Ctrl-C aborts it; a second one ends the process at once. */
async function alone<T>(work: (call: Call) => Promise<T>): Promise<T> {
  const interrupted = new AbortController()
  const interrupt = () => {
    endAtNext(process, () => process.exit(1))
    interrupted.abort(new RegistryError('UNAVAILABLE', 'interrupted'))
  }
  for (const name of SIGNALS) process.once(name, interrupt)
  try {
    return await work({ signal: interrupted.signal, progress: (report) => line.show(report) })
  } finally {
    line.clear()
    for (const name of SIGNALS) process.removeListener(name, interrupt)
  }
}

/**
 * Runs `work` through the gateway that owns the data folder, or alone on the folder when none runs: then the
 * same rooms are opened, but listen nowhere.
 *
 * @param door whether `work` needs the registry, too: alone, the control socket is this process's meanwhile
 */
function operate<T>(
  config: Config,
  openLog: () => Promise<Log>,
  door: boolean,
  work: (operations: Operations, call: Call) => Promise<T>
): Promise<T> {
  return alone(async (call) => {
    const running = await connectControl(controlPath(config.data))
    if (running !== undefined) return work(running, call)
    const log = await openLog()
    const [{ openRooms }, { openDoor }, { audited, openAuditLog, openSignatures }, { operationsOf }] =
      await Promise.all([
        import('./rooms.ts'),
        import('./door.ts'),
        import('./access.ts'),
        import('./operations.ts')
      ])
    await using stack = new AsyncDisposableStack()
    const rooms = await openRooms(
      { ...config, swarmListen: [], seedListen: undefined, mdns: false, relays: [] },
      log,
      stack
    )
    const audit = openAuditLog(config, rooms.registry, log, stack)
    const operations = audited(operationsOf(rooms), audit)
    if (door) {
      const signatures = await openSignatures(config, rooms.registry, log)
      await openDoor(rooms, operations, call.signal, stack, { audit, signatures })
    }
    return await work(operations, call)
  })
}

/** Runs the command that the program was called with, and sets the exit status. */
const status = await runCommandLine(process.argv.slice(2), (flags, file) => {
  const config = readConfig({ flags, env: process.env, ...(file === undefined ? {} : { file }) })
  // loaded late: what goes through a gateway that runs has nothing to log
  const openLog = async () => (await import('./log.ts')).createLog(config.logLevel)
  process.on('unhandledRejection', (failure) => {
    void openLog().then((log) => {
      log.fatal({ err: failure }, 'a promise failed that nobody waited for')
      process.exit(1)
    })
  })
  return {
    config,
    print,
    write: (bytes) => void process.stdout.write(bytes),
    screen: createScreen(process.stdout),
    alone,
    operate: (work) => operate(config, openLog, false, work),
    reach: (work) =>
      operate(config, openLog, true, (operations, call) =>
        work({ socketPath: controlPath(config.data) }, operations, call)
      ),
    serve: async () => {
      await serve(config, await openLog())
      unprinted = undefined // it serves, and what it prints is by the way
    }
  }
})
process.exitCode = status
// A stream tells of an error after the write.
setImmediate(() => {
  if (unprinted === undefined) return
  process.stderr.write(`seaway: could not print the result: ${unprinted.message}\n`)
  process.exitCode = 1
})
