#!/usr/bin/env bash
# Installs the real programs that the end-to-end tests and the benchmarks run
# against: engines, clients, a registry, a name server, another IPFS node.
#
#   scripts/install-peers.sh [apt] [go-clients] [kubo] [conformance] [buildkit] [cosign]
#
# No argument means every part but buildkit and cosign, which take minutes to build: the one is for `npm run test:buildkit`,
# of the other (1,765 packages, seven minutes of processor time) what it makes is recorded (scripts/record-signatures.ts).
# Running it again costs about a second. Needs
# root, Debian 12's packages and the Go module proxy; starts no service.
# Go programs go to ${SEAWAY_TOOLS:-$HOME/.cache/seaway-tools}/bin.
set -euo pipefail

tools="${SEAWAY_TOOLS:-$HOME/.cache/seaway-tools}"
bin="$tools/bin"

packages=(
  docker.io containerd runc iptables docker-compose # engines; docker.io needs iptables to start at all
  skopeo podman buildah catatonit                   # daemonless clients
  docker-registry apache2-utils                     # the baseline registry, htpasswd
  bind9 bind9-utils bind9-dnsutils                  # named; rndc and tsig-keygen; dig and nsupdate
  unbound                                           # a resolver
  pebble                                            # an authority that issues certificates by ACME
  busybox-static debootstrap                        # contents for images
  iproute2 openssl strace tmux procps               # namespaces, crash tests, terminals
  zsh fish                                          # shells that complete command lines, beside bash
  ca-certificates
  gcc libc6-dev                                     # the library that makes disks fail
)

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -c '^installed$')" = "${#packages[@]}" ]; }

# Debian starts a daemon as it is installed unless policy-rc.d says no. The one
# that was there before comes back whatever happens in between.
without_services() {
  local policy=/usr/sbin/policy-rc.d kept='' status=0
  if [ -e "$policy" ]; then kept="$(mktemp)" && cp -p "$policy" "$kept"; fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  "$@" || status=$?
  if [ -n "$kept" ]; then cp -p "$kept" "$policy" && rm "$kept"; else rm -f "$policy"; fi
  return "$status"
}

part_apt() {
  say 'Debian packages'
  if installed; then echo 'all there'; return; fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  without_services apt-get install -y -qq --no-install-recommends "${packages[@]}" >"$tools/apt.log" 2>&1 ||
    { tail -n 40 "$tools/apt.log" >&2; exit 1; }
}

# go_tool NAME MODULE VERSION PACKAGE [COMMAND] builds one program at a pinned version.
# Through a module of its own rather than `go install PACKAGE@VERSION`, which
# refuses modules with replace lines and asks the proxy for lists of versions
# that it does not hand out for every module. The stamp makes a changed pin build again.
go_tool() {
  local name=$1 module=$2 version=$3 package=$4 command=${5:-build} stamp="$bin/.$1" work
  if [ -x "$bin/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$module@$version" ]; then
    echo "$name $version is there"
    return
  fi
  work="$(mktemp -d "$tools/build.XXXXXX")"
  (
    cd "$work"
    export GOTOOLCHAIN=local GOFLAGS='-mod=mod -buildvcs=false'
    go mod init seaway.test/tools
    go mod edit -require="$module@$version"
    if [ -n "${GO_SUM:-}" ]; then echo "$GO_SUM" >go.sum; fi
    # shellcheck disable=SC2086 # the command may be two words
    go $command -trimpath -ldflags='-s -w' -o "$work/$name" "$package"
  ) >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; echo "$name $version did not build; log: $work/log" >&2; exit 1; }
  mv "$work/$name" "$bin/$name"
  echo "$module@$version" >"$stamp"
  rm -rf "$work"
  echo "$name $version built (${SECONDS}s)"
}

part_go_clients() {
  say 'crane, oras, regctl, notation'
  go_tool crane github.com/google/go-containerregistry v0.22.1 github.com/google/go-containerregistry/cmd/crane
  go_tool oras oras.land/oras v1.3.2 oras.land/oras/cmd/oras
  go_tool regctl github.com/regclient/regclient v0.11.7 github.com/regclient/regclient/cmd/regctl
  go_tool notation github.com/notaryproject/notation v1.3.2 github.com/notaryproject/notation/cmd/notation
}

part_cosign() {
  say 'cosign'
  go_tool cosign github.com/sigstore/cosign/v3 v3.1.3 github.com/sigstore/cosign/v3/cmd/cosign
}

part_kubo() {
  say 'Kubo'
  go_tool ipfs github.com/ipfs/kubo v0.42.0 github.com/ipfs/kubo/cmd/ipfs
}

# The newest version of the distribution specification's suite that the module
# proxy has; it is a test package. The checksum database doesn't know it, so its
# hash stands here (its files are those of commit f2182352d4cc, compared by hand).
part_conformance() {
  say 'OCI conformance suite'
  local module=github.com/opencontainers/distribution-spec/conformance
  local version=v0.0.0-20231101194043-f2182352d4cc
  local hash='h1:jL+CgYEEZluGb08ZcLpEyhn389kNMlwrWOHaIqXazq0='
  local hash_mod='h1:odnkI+gfnNSdq8NaG/nKvENDEWkXAjjbgp8GKMllVSI='
  GONOSUMDB="$module" GO_SUM="$module $version $hash"$'\n'"$module $version/go.mod $hash_mod" \
    go_tool oci-conformance-1.1 "$module" "$version" "$module" 'test -c'
}

# Debian has no package of it. Newer versions need a module that the proxy does not hand out.
part_buildkit() {
  say 'BuildKit'
  go_tool buildkitd github.com/moby/buildkit v0.23.2 github.com/moby/buildkit/cmd/buildkitd
  go_tool buildctl github.com/moby/buildkit v0.23.2 github.com/moby/buildkit/cmd/buildctl
}

version_of() { # NAME COMMAND...
  local name=$1 line
  shift
  line="$("$@" 2>&1 | grep -m1 -E '[0-9]+\.[0-9]+' || true)"
  printf '  %-16s %s\n' "$name" "${line:-missing}"
}

versions() {
  say 'versions'
  version_of dockerd dockerd --version
  version_of docker /usr/bin/docker --version
  version_of containerd containerd --version
  version_of runc runc --version
  version_of skopeo skopeo --version
  version_of podman podman --version
  version_of buildah buildah --version
  version_of docker-registry docker-registry --version
  version_of docker-compose docker-compose --version
  version_of named named -v
  version_of unbound unbound -V
  version_of pebble dpkg-query -W pebble
  version_of crane "$bin/crane" version
  version_of oras "$bin/oras" version
  version_of regctl "$bin/regctl" version
  version_of notation "$bin/notation" version
  version_of cosign "$bin/cosign" version
  version_of ipfs "$bin/ipfs" --version
}

main() {
  export PATH="$PATH:/usr/local/go/bin:/usr/sbin:/sbin"
  mkdir -p "$bin"
  local parts=("$@") part
  [ ${#parts[@]} -gt 0 ] || parts=(apt go-clients kubo conformance)
  for part in "${parts[@]}"; do
    case "$part" in
      apt) part_apt ;;
      go-clients) part_go_clients ;;
      kubo) part_kubo ;;
      conformance) part_conformance ;;
      buildkit) part_buildkit ;;
      cosign) part_cosign ;;
      *) echo "usage: $0 [apt] [go-clients] [kubo] [conformance] [buildkit] [cosign]" >&2; exit 2 ;;
    esac
  done
  versions
}

main "$@"
