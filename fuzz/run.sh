#!/usr/bin/env bash
# Fuzzes one part of the reading of stack files: interpolate, dotenv, tree or loader.
#
#   fuzz/run.sh TARGET [SECONDS]        30 minutes where nothing is said
#   fuzz/run.sh TARGET FILE             one input again, as a crash left it in fuzz/artifacts
#
# It needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler. What it finds on its
# way goes to fuzz/grown; the files in fuzz/corpus are where it begins. An input that
# takes more than 5 s, or 256 MiB, is a fault like a panic.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?a target is needed: interpolate, dotenv, tree or loader}
what=${2:-1800}

# Dependencies in the versions that the program has.
cp Cargo.lock fuzz/Cargo.lock
# A stable compiler takes all that cargo-fuzz asks of it.
export RUSTC_BOOTSTRAP=1
# Our code has no unsafe block for a sanitizer to look into, and what one takes itself
# would count: without one the limit is that of the reader.
fuzz=(cargo fuzz run --sanitizer none "$target")
if [ -f "$what" ]; then
    exec "${fuzz[@]}" "$what"
fi
# Each input is a file for a moment: in memory that is ten times as fast.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
mkdir -p "fuzz/grown/$target"
# No input may wait for a person at the terminal.
exec "${fuzz[@]}" "fuzz/grown/$target" "fuzz/corpus/$target" -- \
    -max_total_time="$what" -timeout=5 -rss_limit_mb=256 </dev/null
