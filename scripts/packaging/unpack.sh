#!/bin/sh
# p2pnode in one file: this script, and behind its last line a tar archive that it unpacks once into the user's cache.
digest=@DIGEST@
cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
stop() { echo "error: $1" >&2; exit 1; }
[ -n "$cache" ] || stop "p2pnode unpacks itself below HOME or XDG_CACHE_HOME, and neither is set: set one"
place=$cache/p2pnode/$digest
if [ ! -x "$place/p2pnode" ]; then
    cannot="p2pnode cannot unpack itself into $cache/p2pnode; free 250 MB there or set XDG_CACHE_HOME to another directory"
    mkdir -p "$cache/p2pnode" && part=$(mktemp -d "$cache/p2pnode/part-XXXXXX") || stop "$cannot"
    trap 'rm -rf "$part"' EXIT
    tail -n +@LINE@ "$0" | tar -xz -f - -C "$part" || stop "$cannot"
    # Where another was faster its copy stands.
    mv "$part/p2pnode" "$place" 2>/dev/null || [ -x "$place/p2pnode" ] || stop "$cannot"
    rm -rf "$part"
    trap - EXIT
fi
exec "$place/p2pnode" "$@"
