#!/usr/bin/env bash
# Installs what orderd is built with, where it is missing; does nothing where all is there.
#
#   scripts/setup.sh           for a build and the demo: Rust, a C compiler (SQLite is built from source), redis-server
#   scripts/setup.sh --tests   for the tests too: pip, which fetches the other servers (scripts/test-servers.sh), faketime, which
#                              sets a server's clock back, the programs of a Postgres server, and chromium, which looks at the
#                              page (on Debian; elsewhere the test says what it looked for)
#   scripts/setup.sh --fuzz    for make fuzz too: a C++ compiler, which builds libFuzzer
#   scripts/setup.sh --system  for the tests of the whole system (make system-test), which run as root: systemd-nspawn to boot a machine
#                              in, mmdebstrap to make one, a Docker engine,
#                              Prometheus, podman, and what judges files for Kubernetes (scripts/system-tools.sh fetches the rest)
#
# On Debian and Ubuntu it installs by apt-get, as root or through sudo. Elsewhere, and for Rust, it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

OLDEST_REDIS=6.2

main() {
    check_rust
    local missing=() packages=()
    can_build_c || { missing+=("a C compiler with the C library's headers (gcc or clang)"); packages+=(gcc libc6-dev); }
    has redis-server || { missing+=("redis-server $OLDEST_REDIS or newer (the package is called redis or redis-server)"); packages+=(redis-server); }
    local wanted=()
    if [ "${1:-}" = --tests ]; then
        has_pip || wanted+=(python3 python3-pip)
        has_faketime || wanted+=(faketime)
        has_postgres || wanted+=(postgresql)
        has_browser || ! is_debian || wanted+=(chromium)
    fi
    if [ "${1:-}" = --fuzz ]; then
        has c++ || { missing+=("a C++ compiler (g++ or clang)"); packages+=(g++); }
    fi
    if [ "${1:-}" = --system ]; then
        [ "$(id -u)" = 0 ] || give_up "the tests of the whole system boot machines and run containers, and need root for it."
        has systemd-nspawn || { missing+=("systemd-nspawn"); packages+=(systemd-container); }
        has mmdebstrap || { missing+=("mmdebstrap"); packages+=(mmdebstrap); }
        has dockerd || { missing+=("a Docker engine"); packages+=(docker.io); }
        has promtool || { missing+=("Prometheus, with promtool"); packages+=(prometheus); }
        has docker-compose || { missing+=("docker-compose"); packages+=(docker-compose); }
        has podman && has runc || { missing+=("podman"); packages+=(podman runc catatonit); }
        has node && has npm || { missing+=("Node.js with npm"); packages+=(nodejs npm); }
        has_pip || { missing+=("pip"); packages+=(python3 python3-pip); }
        # Debian's own is too old for the manifests.
        has kubectl || give_up "kubectl (1.27 or newer) is needed, and no package of Debian has one: https://kubernetes.io/docs/tasks/tools/"
    fi

    if [ $((${#packages[@]} + ${#wanted[@]})) -gt 0 ]; then
        if can_install; then
            install "${packages[@]}" "${wanted[@]}"
        elif [ ${#missing[@]} -gt 0 ]; then
            name_what_is_missing
        fi
    fi
    check_redis
}

check_rust() {
    if ! has cargo && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
        give_up "cargo is installed and not in PATH. Run: . \"\$HOME/.cargo/env\""
    fi
    has cargo || give_up "there is no Rust toolchain here. The usual way to get one is https://rustup.rs; then run this again."
    local oldest version
    oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    # By the toolchain that builds: rustup fetches the one of rust-toolchain.toml here, if it has to.
    version=$(cargo --version | cut -d ' ' -f 2)
    at_least "$version" "$oldest" || give_up "Rust $version is too old, $oldest is needed. The usual way to get it is https://rustup.rs."
}

# Compiles and links, for a compiler without the headers is of no use.
can_build_c() { has cc && printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - >/dev/null 2>&1; }

# The library is all that is wanted of the package; its place depends on the machine.
has_faketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; }

has_postgres() { has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

# On Ubuntu the package is an empty one that points to a snap.
has_browser() { has chromium || has chromium-browser || has google-chrome; }
is_debian() { grep -qx 'ID=debian' /etc/os-release 2>/dev/null; }

has_pip() { has python3 && python3 -m pip --version >/dev/null 2>&1; }

can_install() { has apt-get && { [ "$(id -u)" = 0 ] || has sudo; }; }

install() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    say "installing $* (apt-get${as_root[0]:+, through sudo})"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
    case " $* " in
    *" redis-server "*)
        # The package brings a service, which a system with systemd starts. That is its business: every server that the demo
        # and the tests use is a process of their own, in a temporary folder.
        if [ -d /run/systemd/system ]; then
            say "the package also starts a Redis of its own on port 6379, which neither demo nor tests use; to switch it off: systemctl disable --now redis-server"
        fi
        ;;
    esac
    case " $* " in
    *" postgresql "*)
        if [ -d /run/systemd/system ]; then
            say "the package also starts a Postgres of its own, which the tests do not use; to switch it off: systemctl disable --now postgresql"
        fi
        ;;
    esac
}

name_what_is_missing() {
    say "missing here:"
    printf '  - %s\n' "${missing[@]}" >&2
    if has apt-get; then
        give_up "as root, run: apt-get install ${packages[*]}"
    fi
    give_up "please install that with the package manager of this system, and run this again."
}

check_redis() {
    local version
    version=$(redis-server --version | sed -n 's/.*v=\([0-9.]*\).*/\1/p')
    at_least "$version" "$OLDEST_REDIS" || give_up "redis-server $version is too old: orderd needs $OLDEST_REDIS or newer (XAUTOCLAIM)."
}

main "$@"
