import { homedir } from 'node:os'
import { join } from 'node:path'
import { LOG_LEVELS, row, type Setting } from './table.ts'
import { duration, oneOf, optional, plain } from './values.ts'

/** Deadlines, engines and the log. */
export const WAITS: readonly Setting[] = [
  row('dnsTimeout', 'TIME', '10s', 'deadline of a name lookup, all retries included', duration),
  row('dialTimeout', 'TIME', '10s', 'deadline of a connection to a peer', duration),
  row('blockTimeout', 'TIME', '10s', 'how long a peer may be silent while a block is wanted of it', duration),
  row(
    'peerTimeout',
    'TIME',
    '500ms',
    'how long peers may take to say what they have of an image of another registry, before that is asked',
    duration
  ),
  row('idleTimeout', 'TIME', '60s', 'how long a client may be silent in the middle of a request', duration),
  row(
    'pullTimeout',
    'TIME',
    '60s',
    'deadline for finding what a client asks for, before its first byte',
    duration
  ),
  row(
    'dockerHost',
    'unix:///PATH',
    'unix:///var/run/docker.sock',
    "the Docker engine's socket, for push, pull and copy; DOCKER_HOST is heeded too",
    plain,
    'DOCKER_HOST'
  ),
  row(
    'podmanHost',
    'unix:///PATH',
    `unix://${podmanSocket()}`,
    "podman's socket (podman system service), for push, pull and copy; CONTAINER_HOST is heeded too",
    plain,
    'CONTAINER_HOST'
  ),
  row(
    'dockerConfig',
    'FOLDER',
    '',
    'where config.json with the logins of other registries is, for push, pull and copy; DOCKER_CONFIG is heeded too, else ~/.docker',
    (text) => (text === '' ? join(homedir(), '.docker') : text),
    'DOCKER_CONFIG'
  ),
  row(
    'trustedCa',
    'FILE',
    '',
    'certificates of further authorities in PEM form, for commands that reach a gateway or registry by its URL; those in /etc/docker/certs.d/HOST are trusted, too',
    optional(plain)
  ),
  row(
    'logLevel',
    LOG_LEVELS.join('|'),
    'warn',
    'what is written to the log (stderr, one JSON object a line)',
    oneOf(...LOG_LEVELS)
  )
]

/** Where podman listens for its user. */
function podmanSocket(): string {
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? '/run/podman/podman.sock' : `/run/user/${uid}/podman/podman.sock`
}
