#!/usr/bin/env bash
# A rolling update of 10 replicas, from the command until all are new and ready, against
# the engine's own floor: the same creates, starts, stops and removals without any gate.
# Runs alternate. A service behind the gateway, with everything at once (the goal: a ratio
# of at most 1.3); for comparison one that publishes nothing, for which each run starts a
# prober of its own, and the defaults: one after the other, each watched for 5 s.
#
#   ROUNDS=7 DEFAULTS=1 benches/rollout.sh [WORKLOAD]     default: the tests' workload
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"
defaults=${DEFAULTS:-1} # rounds with the defaults: each takes a minute
replicas=10

workload=${1:-}
if [ -z "$workload" ]; then
    triple=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$here/.." && cargo build --release --locked --example workload)
    workload=$here/../target/$triple/release/examples/workload
fi
make_image "$workload"

folder=$(mktemp -d)
stack="shopctl-bench-rollout"
floor="shopctl-bench-floor"
run() { "$shopctl" -p "$stack" -f "$folder/stack.yaml" --progress none "$@"; }
finish() {
    run down --volumes --yes >/dev/null 2>&1 || true
    floor_down "$floor" || true
    rm -rf "$folder"
}
trap finish EXIT

file() { # file VERSION UPDATE_CONFIG
    cat >"$folder/stack.yaml" <<END
services:
  web:
    image: $image
    environment: { VERSION: "$1" }
    restart: unless-stopped
    ports: [$ports]
    deploy:
      replicas: $replicas
      resources: { reservations: { cpus: "0.001", memory: 6M } }
      update_config: { $2 }
    x-shop: { ready: { http: /readyz, port: 8000 } }
END
}
# The floor's update: new ones in parallel, then old ones away in parallel.
floor_update() { # floor_update FIRST_NEW FIRST_OLD
    floor_more "$floor" "$1" "$(($1 + replicas - 1))"
    # shellcheck disable=SC2016 # expanded by the inner shell
    seq "$2" "$(($2 + replicas - 1))" | xargs -P "$concurrency" -I N bash -c '
        set -e
        engine POST "/containers/$0-N/stop" >/dev/null
        engine DELETE "/containers/$0-N" >/dev/null' "$floor"
}
# ready_ms START: reads the events of a deploy, prints the milliseconds from the start of
# the command until the last new replica was ready.
ready_ms() {
    python3 -c '
import json, sys
events = [json.loads(line) for line in sys.stdin]
ready = [e["at"] for e in events if e["event"] == "step_finished" and e["what"].startswith("start ")]
print(max(ready) - int(sys.argv[1]))' "$1"
}

all_at_once="parallelism: $replicas, delay: 0s, monitor: 0s"
measure() { # measure NAME ROUNDS [LIMIT]
    local name=$1 round start end
    file 0 "$all_at_once"
    run deploy
    floor_up "$floor" "$replicas"
    for round in $(seq "$2"); do
        printf '%s: round %d of %d\n' "$name" "$round" "$2" >&2
        file "$round" "$all_at_once"
        start=$(now_ms)
        run deploy -o json >"$folder/events"
        end=$(now_ms)
        printf '%d\n' "$((end - start))" >>"$folder/$name-all-shopctl"
        ready_ms "$start" <"$folder/events" >>"$folder/$name-ready-shopctl"
        clock floor_update "$((round * replicas + 1))" "$(((round - 1) * replicas + 1))" >>"$folder/$name-all-floor"
        # What the floor takes until all new ones are started, old ones still there.
        clock floor_more "$floor" 100001 "$((100000 + replicas))" >>"$folder/$name-ready-floor"
        # shellcheck disable=SC2016 # expanded by the inner shell
        seq 100001 "$((100000 + replicas))" |
            xargs -P "$concurrency" -I N bash -c 'engine DELETE "/containers/$0-N?force=1" >/dev/null' "$floor"
    done
    printf '%s: all new replicas ready, parallelism %d, delay 0, monitor 0s\n' "$name" "$replicas"
    LIMIT=${3:-} summary "$folder/$name-ready-shopctl" "$folder/$name-ready-floor"
    printf '%s: the whole command, old replicas drained, stopped and removed\n' "$name"
    summary "$folder/$name-all-shopctl" "$folder/$name-all-floor"
}

ports=
measure unpublished 3
run down --volumes --yes
floor_down "$floor"
ports="{ target: 8000, published: '$(free_port)', host_ip: 127.0.0.1, app_protocol: http }"
measure published "$rounds" 1.3

for round in $(seq "$defaults"); do
    file "defaults-$round" ""
    clock run deploy >>"$folder/defaults-shopctl"
done
if [ "$defaults" -gt 0 ]; then
    printf 'the whole command with the defaults (one at a time, monitor 5s)\n'
    summary "$folder/defaults-shopctl" "$folder/published-all-floor"
fi
verdict
