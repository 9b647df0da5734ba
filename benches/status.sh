#!/usr/bin/env bash
# p50 of 50 `status` calls on 40 containers, without and with a gateway.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"

triple=$(rustc -vV | sed -n 's/^host: //p')
(cd "$here/.." && cargo build --release --locked --example workload)
make_image "$here/../target/$triple/release/examples/workload"

folder=$(mktemp -d)
trap '"$shopctl" -f "$folder/stack.yaml" down --volumes --yes >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
port=$(free_port)

measure() { # measure NAME LIMIT_MS PORTS
    cat >"$folder/stack.yaml" <<END
name: shopctl-bench-status
services:
  trivial:
    image: $image
    restart: unless-stopped
    stop_signal: SIGKILL
    $3
    deploy: { replicas: 40, resources: { reservations: { cpus: "0.001", memory: 1M } } }
END
    "$shopctl" -f "$folder/stack.yaml" --progress none deploy
    python3 - "$1" "$shopctl" "$folder/stack.yaml" "$2" <<'PY' || missed=1
import statistics, subprocess, sys, time
took = []
for _ in range(50):
    start = time.perf_counter()
    subprocess.run([sys.argv[2], "-f", sys.argv[3], "status", "-o", "json"], check=True, stdout=subprocess.DEVNULL)
    took.append((time.perf_counter() - start) * 1000)
print(f"status, 40 containers, {sys.argv[1]}: p50 {statistics.median(took):.1f} ms, min {min(took):.1f}, max {max(took):.1f}, n {len(took)}, limit {sys.argv[4]}")
if statistics.median(took) > float(sys.argv[4]):
    sys.exit("error: above its limit")
PY
    "$shopctl" -f "$folder/stack.yaml" --progress none down --volumes --yes >/dev/null
}
measure "no gateway" 30 ""
measure "with a gateway" 60 "ports: [\"127.0.0.1:$port:8000\"]"
verdict
