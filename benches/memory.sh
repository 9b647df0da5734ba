#!/usr/bin/env bash
# Peak memory of a deploy of 40 replicas (its largest resident set, as the kernel
# reports it to GNU time when the process ends); has to stay below LIMIT_KIB (40 MB).
#
#   benches/memory.sh [WORKLOAD]     a static binary that stays up; default: the tests' workload
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"
rounds=${ROUNDS:-3}
limit=${LIMIT_KIB:-39062}
time=$(type -P time) || die "GNU time is needed for this bench: apt-get install time"

workload=${1:-}
if [ -z "$workload" ]; then
    triple=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$here/.." && cargo build --release --locked --example workload)
    workload=$here/../target/$triple/release/examples/workload
fi
make_image "$workload"

folder=$(mktemp -d)
trap '"$shopctl" -f "$folder/stack.yaml" down --volumes --yes >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cat >"$folder/stack.yaml" <<END
name: shopctl-bench-memory
services:
  trivial:
    image: $image
    restart: unless-stopped
    stop_signal: SIGKILL
    deploy: { replicas: 40, resources: { reservations: { cpus: "0.001", memory: 1M } } }
END
run() { "$shopctl" -f "$folder/stack.yaml" --progress none "$@"; }

# measure NAME COMMAND…: one run's peak in KiB, on a line of its own in the file.
measure() {
    local name=$1
    shift
    "$time" -o "$folder/peak" -f %M "$shopctl" -f "$folder/stack.yaml" --progress none "$@" >/dev/null ||
        die "failed: $*"
    tail -n 1 "$folder/peak" >>"$folder/$name"
}
for _ in $(seq "$rounds"); do
    measure deploy deploy
    measure noop deploy
    run down --volumes --yes >/dev/null
done
python3 - "$limit" "$folder/deploy" "$folder/noop" <<'PY'
import statistics, sys
limit, *files = sys.argv[1:]
names = ["deploy of 40 replicas", "the same, nothing to do"]
peaks = []
for name, file in zip(names, files):
    values = [int(line) for line in open(file)]
    peaks.append(max(values))
    print(f"{name:<24} peak memory: median {statistics.median(values) / 1024:5.1f} MiB   max {max(values) / 1024:5.1f}   n {len(values)}")
if max(peaks) >= int(limit):
    sys.exit(f"error: {max(peaks)} KiB are too much; the limit is {limit} KiB")
PY
