#!/usr/bin/env node
// `seaway` on the PATH. The program needs Node 24; this launcher runs on whatever Node is there, and where that is an older
// one it hands over to the one that was installed with the package (npm scripts find that by themselves).
const [major = 0] = process.versions.node.split('.').map(Number)
if (major >= 24) await import('../src/main.js')
else {
  const [{ spawn }, { createRequire }, { fileURLToPath }] = await Promise.all([
    import('node:child_process'),
    import('node:module'),
    import('node:url')
  ])
  const node = createRequire(import.meta.url).resolve('node/bin/node')
  const main = fileURLToPath(new URL('../src/main.js', import.meta.url))
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(`seaway: ${node} cannot be run: ${error.message}`)
    process.exitCode = 1
  })
  child.on('exit', (code, signal) => {
    process.exitCode = signal === null ? (code ?? 1) : 1
  })
}
