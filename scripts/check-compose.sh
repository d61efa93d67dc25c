#!/usr/bin/env bash
# Validates compose.yaml with the real docker compose (v2 if it is there, else Debian's docker-compose),
# and runs the image's build steps against a base made on the spot where the registry can't be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then
  docker compose -f compose.yaml config >/dev/null && echo 'compose.yaml: valid (docker compose)'
elif command -v docker-compose >/dev/null; then
  # Debian's docker-compose 1.29 is older than inline Dockerfiles: everything else is checked with it.
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  node -e '
    const { parse, stringify } = require("yaml")
    const file = parse(require("fs").readFileSync("compose.yaml", "utf8"), { merge: true })
    for (const service of Object.values(file.services)) delete service.build.dockerfile_inline
    process.stdout.write(stringify({ version: "3.9", ...file }, { defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" }))' >"$work/compose.yaml"
  docker-compose -f "$work/compose.yaml" config >/dev/null && echo "compose.yaml: valid ($(docker-compose version --short), without the inline Dockerfile)"
else
  echo 'compose.yaml was NOT checked: neither docker compose nor docker-compose is here' >&2
  [ "${CI:-}" = '' ]
fi
