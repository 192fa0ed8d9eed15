#!/usr/bin/env bash
# Searches for bytes that the decoder of replies reads otherwise than the client library, or otherwise when they are cut.
#
#   scripts/fuzz.sh FOLDER [OPTION…]   builds in FOLDER, keeps there what it learned (corpus) and what it found (found-*).
#                                      OPTION is one of libFuzzer, and overrides those below.
#
# By the toolchain that builds orderd: cargo-fuzz, which knows the layout of fuzz/ too, wants a nightly one.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

main() {
    [ $# -gt 0 ] || give_up "where to? scripts/fuzz.sh FOLDER"
    local folder host
    mkdir -p "$1/corpus"
    folder=$(realpath "$1")
    shift
    host=$(rustc -vV | sed -n 's/^host: //p')
    # With a target that is named, the flags are for that alone: what runs during the build has no fuzzer to count for.
    RUSTFLAGS="$(flags)" cargo build --locked --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$folder"
    "$folder/$host/debug/decoder" -max_total_time=60 -max_len=1024 -print_final_stats=1 -artifact_prefix="$folder/found-" "$@" \
        "$folder/corpus" fuzz/seeds/decoder 2>&1 | without_each_step
}

# What rustc is to put in: counters for the ways through the code, and what comparisons compare.
flags() {
    local option
    printf '%s' -Cpasses=sancov-module
    for option in level=4 inline-8bit-counters pc-table trace-compares; do
        printf ' %s' "-Cllvm-args=-sanitizer-coverage-$option"
    done
}

# There are thousands: an input that led somewhere new, or a shorter one, and what it was made of.
without_each_step() { sed -uE '/^#[0-9]+\s+(NEW|REDUCE) /d; /^\s*NEW_FUNC/d; / # Uses: [0-9]+$/d'; }

main "$@"
