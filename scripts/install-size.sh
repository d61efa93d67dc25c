#!/usr/bin/env bash
# Reports what `npm ci --omit=dev` installs: megabytes without the Node binary, and packages.
# The aim is under 120 MB and 250 packages.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$work/"
mkdir -p "$work/scripts"
cp -r "$here/scripts/no-helia-libp2p" "$here/scripts/no-form-data" "$work/scripts/"
(cd "$work" && npm ci --omit=dev --no-fund --no-audit)
all=$(du -sm "$work/node_modules" | cut -f1)
node=$(du -cm "$work"/node_modules/node "$work"/node_modules/node-bin-* 2>/dev/null | tail -n 1 | cut -f1)
packages=$(cd "$work" && npm ls --all --parseable --omit=dev 2>/dev/null | tail -n +2 | sort -u | wc -l)
echo "installed for production: $((all - node)) MB without the Node binary, $packages packages"
