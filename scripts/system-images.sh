#!/usr/bin/env bash
# Makes what the tests of the whole system run in, in the folder that is given; what is there already is kept. As root.
#
#   guest.tar   a small Debian with systemd and redis-server: booted by the tests, and the other side of a container's network
#   rust.tar    stands in for the image that the Dockerfile builds on: a Debian with a C compiler, the Rust toolchain of this machine,
#               and the crates of Cargo.lock, so that the build needs no network
set -euo pipefail
. "$(dirname "$0")/say.sh"
repository=$(cd "$(dirname "$0")/.." && pwd)

RELEASE=bookworm

main() {
    local folder=${1:?"the folder for the images"}
    mkdir -p "$folder"
    cd "$folder"
    [ -f guest.tar ] || make guest.tar debian systemd,systemd-sysv,dbus,redis-server,procps
    local key
    key=$(cd "$repository" && cat Cargo.lock <(rustc --version) | sha256sum | cut -d ' ' -f 1)
    if [ ! -f rust.tar ] || [ "$(cat rust.key 2>/dev/null)" != "$key" ]; then
        make rust.tar rust ca-certificates,gcc,libc6-dev,make,pkg-config
        echo "$key" >rust.key
    fi
}

# Makes a Debian with these packages, and what the second word names besides. The file has its name only once it is whole.
make() {
    local file=$1 kind=$2 packages=$3 work
    say "making $file ($RELEASE with $packages)"
    work=$(mktemp -d ./.making-XXXXXX)
    # Some mirrors are snapshots, whose lists are older than they may be.
    if ! mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" \
        "$RELEASE" "$work/root" >"$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        rm -rf "$work"
        give_up "$file could not be made"
    fi
    if [ "$kind" = rust ]; then add_rust "$work/root"; fi
    # Devices are of no use where it is unpacked, and cannot be made everywhere.
    tar -C "$work/root" --exclude='./dev/*' -cf "$work/whole.tar" .
    mv "$work/whole.tar" "$file"
    rm -rf "$work"
}

add_rust() {
    local root=$1 cargo_home=${CARGO_HOME:-$HOME/.cargo} sysroot
    sysroot=$(cd "$repository" && rustc --print sysroot)
    (cd "$repository" && cargo fetch --locked --quiet)
    mkdir -p "$root/usr/local/cargo/registry"
    cp -a "$sysroot/bin" "$sysroot/lib" "$root/usr/local/"
    cp -a "$cargo_home/registry/index" "$cargo_home/registry/cache" "$root/usr/local/cargo/registry/"
    [ ! -f "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$root/usr/local/cargo/"
}

main "$@"
