# What the scripts have in common; they source it. It is of no use by itself.

# A script's name as people type it, for its messages.
name=scripts/$(basename "$0")

# --help shows the comment at the top of the script.
case "${1:-}" in
-h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac

# Tell on stderr what is being done. Standard output is for results.
say() {
    echo "$name: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

wrong_usage() {
    say "$@ (see $name --help)"
    exit 2
}

# Run a command; what it prints is shown only if it fails, and then the script ends.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm "$log"
        fail "failed: $*"
    fi
    rm "$log"
}

has_root() {
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null
}

# Run a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root, or sudo, for: $*"
    fi
}
