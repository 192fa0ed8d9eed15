# How the scripts speak. To be sourced.
# shellcheck shell=bash

# One line of what is going on.
say() { printf '%s\n' "orderd: $*" >&2; }

# The last line: why it does not go on.
give_up() {
    say "$@"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Whether version $1 is $2 or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
