#!/bin/sh
# Builds services and lays out what their images hold, at a place that is the same on every architecture:
#
#   target/image/NAME/NAME    the static binary
#   target/image/NAME/data    an empty folder; the image gives it to the user of the service
#
# usage: sh services/build-image-files.sh NAME...
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: $0 NAME..." >&2; exit 2; }

# All services in one call, whichever is asked for: cargo chooses the features of
# shared crates per call, so one call per service would compile them anew.
cargo build --release --locked -p order -p goods

triple=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
for name in "$@"; do
    built=${CARGO_TARGET_DIR:-target}/$triple/release/$name
    image=target/image/$name
    mkdir -p "$image/data"
    : > "$image/data/.keep"
    # An unchanged file keeps its time, so the build after this finds nothing to do.
    if ! cmp -s "$built" "$image/$name"; then
        cp "$built" "$image/.$name.$$"
        mv "$image/.$name.$$" "$image/$name"
    fi
done
