#!/usr/bin/env bash
# Packs a built orderd into a Debian package, with nothing but dpkg-deb. `make deb` calls it.
#
#   scripts/deb.sh PROGRAM FOLDER [VERSION]
#
# In it are the program, the unit, the configuration with its defaults (a conffile: an upgrade leaves your changes alone), the licences
# and the guides. What happens when it is installed and removed stands in deploy/debian.
set -euo pipefail
. "$(dirname "$0")/say.sh"
repository=$(cd "$(dirname "$0")/.." && pwd)
# What is being packed; for the whole script, so that it goes however this ends.
root=

main() {
    local program=$1 folder=$2 version=${3:-} architecture
    has dpkg-deb || give_up "dpkg-deb is needed to pack a Debian package."
    [ -x "$program" ] || give_up "there is no program at $program."
    version=${version:-$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/Cargo.toml" | head -n 1)}
    architecture=$(dpkg --print-architecture)
    mkdir -p "$folder"
    root=$(mktemp -d "$folder/.packing-XXXXXX")
    trap 'rm -rf "$root"' EXIT
    # mktemp makes it for its owner alone, and the package would hand that on to / of the target.
    chmod 755 "$root"

    place 755 "$program" usr/bin/orderd
    strip --strip-unneeded "$root/usr/bin/orderd"
    place 644 "$repository/deploy/systemd/orderd.service" lib/systemd/system/orderd.service
    place 644 "$repository/config/orderd.toml" etc/orderd/orderd.toml
    # The ledger has a fixed place here, so that the commands find it from everywhere.
    sed -i 's|^url = "sqlite:orderd.db"$|url = "sqlite:/var/lib/orderd/orderd.db"|' "$root/etc/orderd/orderd.toml"
    documents
    control "$version" "$architecture"

    local file="$folder/orderd_${version}_$architecture.deb"
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct 2>/dev/null || date +%s)} \
        dpkg-deb --root-owner-group -Zgzip --build "$root" "$file" >/dev/null
    echo "$file"
}

# Puts a file there with these rights.
place() { install -D -m "$1" "$2" "$root/$3"; }

documents() {
    local name doc=usr/share/doc/orderd
    for name in README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md; do
        place 644 "$repository/$name" "$doc/$name"
    done
    for name in "$repository"/docs/*.md; do
        place 644 "$name" "$doc/docs/${name##*/}"
    done
    for name in "$repository"/config/examples/*; do
        place 644 "$name" "$doc/config/examples/${name##*/}"
    done
    {
        echo "orderd may be used under either of these two licences."
        echo
        cat "$repository/LICENSE-MIT" "$repository/LICENSE-APACHE"
    } >"$root/$doc/copyright"
    chmod 644 "$root/$doc/copyright"
}

control() {
    local version=$1 architecture=$2 script
    mkdir "$root/DEBIAN"
    for script in postinst prerm postrm; do
        place 755 "$repository/deploy/debian/$script" "DEBIAN/$script"
    done
    echo /etc/orderd/orderd.toml >"$root/DEBIAN/conffiles"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: orderd
Version: $version
Architecture: $architecture
Maintainer: The orderd contributors <orderd@localhost>
Section: net
Priority: optional
Depends: libc6 (>= $(oldest_glibc)), libgcc-s1, init-system-helpers
Suggests: redis-server, postgresql
Installed-Size: $(du -k -s "$root" | cut -f 1)
Description: worker daemon for order events on Redis Streams
 Processes the order events of a consumer group: nothing lost, nothing applied
 twice, each order in sequence. It enters them into a ledger in SQLite or
 Postgres.
CONTROL
}

# The oldest C library that has everything the program asks it for.
oldest_glibc() { objdump -T "$root/usr/bin/orderd" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -n 1; }

main "$@"
