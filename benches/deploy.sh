#!/usr/bin/env bash
# Cold deploy of 40 trivial replicas, and 18 more replicas, against the engine's
# own floor (the same creates and starts by curl); runs alternate.
#
#   benches/deploy.sh [WORKLOAD]     a static binary that stays up; default: the tests' workload
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"

workload=${1:-}
if [ -z "$workload" ]; then
    triple=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$here/.." && cargo build --release --locked --example workload)
    workload=$here/../target/$triple/release/examples/workload
fi
make_image "$workload"

folder=$(mktemp -d)
stack="shopctl-bench-ours"
cat >"$folder/stack.yaml" <<END
name: $stack
services:
  trivial:
    image: $image
    restart: unless-stopped
    stop_signal: SIGKILL
    deploy: { replicas: 40, resources: { reservations: { cpus: "0.001", memory: 1M } } }
END
finish() {
    "$shopctl" -f "$folder/stack.yaml" down --volumes --yes >/dev/null 2>&1 || true
    floor_down shopctl-bench-floor || true
    rm -rf "$folder"
}
trap finish EXIT
run() { "$shopctl" -f "$folder/stack.yaml" --progress none "$@"; }

for round in $(seq "$rounds"); do
    printf 'round %d of %d\n' "$round" "$rounds" >&2
    clock run deploy >>"$folder/deploy-40-shopctl"
    run scale trivial=2 >/dev/null
    clock run scale trivial=20 >>"$folder/scale-18-shopctl"
    "$shopctl" -f "$folder/stack.yaml" --progress none down --volumes --yes >/dev/null
    clock floor_up shopctl-bench-floor 40 >>"$folder/deploy-40-floor"
    floor_down shopctl-bench-floor
    floor_up shopctl-bench-floor 2
    clock floor_more shopctl-bench-floor 3 20 >>"$folder/scale-18-floor"
    floor_down shopctl-bench-floor
done
LIMIT=1.15 summary "$folder/deploy-40-shopctl" "$folder/deploy-40-floor"
LIMIT=1.15 summary "$folder/scale-18-shopctl" "$folder/scale-18-floor"
verdict
