#!/usr/bin/env bash
# A million requests at a constant rate (open loop) through the gateway, while the
# shop is rolled over, switched from blue to green, scaled and taken back all the time:
# none is lost, none is done twice. tests/engine_zero_loss.rs is the same with fewer.
#
#   COUNT=1000000 RATE=1000 benches/zero-loss.sh [FOLDER]   with `load` and `workload`
#
# Two negative controls must report a loss on the same rig: a replica that is stopped
# without a drain, and Docker Compose 2, which lib.sh finds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"
count=${COUNT:-1000000}
rate=${RATE:-1000}
control=$((rate * 15))
find_peer

examples=${1:-}
if [ -z "$examples" ]; then
    triple=$(rustc -vV | sed -n 's/^host: //p')
    (cd "$here/.." && cargo build --release --locked --example workload --example load)
    examples=$here/../target/$triple/release/examples
fi
make_image "$examples/workload"

folder=$(mktemp -d)
stack="shopctl-bench-loss"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -m 777 "$folder/ledger"
run() { "$shopctl" -p "$stack" -f "$folder/stack.yaml" --progress none "$@"; }
compose() { "${peer[@]}" -p "$stack-peer" -f "$folder/stack.yaml" "$@"; }
finish() {
    run down --volumes --yes >/dev/null 2>&1 || true
    compose down -v >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT

rolling='{}'
green='{ strategy: blue-green, pause: 500ms, hold: 500ms }'
file() { # file VERSION REPLICAS [ROLLOUT]
    cat >"$folder/stack.yaml" <<END
services:
  web:
    image: $image
    environment: { VERSION: "$1", START_MS: "200", DELAY_MS: "50", LEDGER: /ledger }
    restart: unless-stopped
    stop_grace_period: 2s
    volumes: ["./ledger:/ledger"]
    ports: ["127.0.0.1:$port:8000"]
    deploy: { replicas: $2, update_config: { monitor: 0s, order: start-first } }
    x-shop: { ready: { http: /readyz, port: 8000 }, rollout: ${3:-$rolling} }
END
}

# switches: reads the events of a change, prints when it switched traffic.
switches() {
    python3 -c '
import json, sys
for line in sys.stdin:
    event = json.loads(line)
    what = event.get("what", "")
    if (event["event"] == "step_started" and what.startswith("drain ")) or (
        event["event"] == "step_finished" and what.startswith(("route web", "send 100 % of web"))
    ):
        print(event["at"])'
}

# fresh: no ledger of an earlier run; only while no replica writes one.
fresh() {
    rm -f "$folder"/ledger/* "$folder/clients"
    : >"$folder/switches"
}
customers() { # customers COUNT: starts them, and waits until they are served
    "$examples/load" run "$port" "$rate" "$1" 8 "$folder/clients" &
    load=$!
    sleep 2
}
# verdict CODE: what the ledgers say, and that it is what was expected.
verdict() {
    local code=0
    wait "$load"
    "$examples/load" check "$folder/clients" "$folder/ledger" "$folder/switches" || code=$?
    [ "$code" = "$1" ] || die "the check ended with $code, not $1"
}

printf 'control: a replica stopped without a drain\n'
file 0 2
fresh
run deploy >/dev/null
customers "$control"
now_ms >>"$folder/switches"
victim=$(run status -o json | python3 -c '
import json, sys
print(json.load(sys.stdin)["services"][0]["instances"][0]["name"])')
engine POST "/containers/$victim/kill?signal=SIGTERM" >/dev/null
verdict 1
run down --volumes --yes >/dev/null

printf '%d requests at %d a second\n' "$count" "$rate"
fresh
run deploy >/dev/null
customers "$count"
changes=0
rolled=0
while kill -0 "$load" 2>/dev/null; do
    case $((changes % 5)) in
        0)
            file "$((changes + 1))" 2
            run deploy -o json
            rolled=$((rolled + 1))
            ;;
        1) run scale web=4 -o json ;;
        2)
            file "$((changes + 1))" 2 "$green"
            run deploy -o json
            ;;
        3) run scale web=2 -o json ;;
        4) run rollback -o json ;;
    esac >"$folder/events"
    switches <"$folder/events" >>"$folder/switches"
    changes=$((changes + 1))
done
printf '%d changes, %d of them rolling deploys\n' "$changes" "$rolled"
verdict 0
run down --volumes --yes >/dev/null

# One replica: Docker Compose cannot publish one port for two.
printf 'control: docker compose up -d\n'
file 0 1
fresh
compose up -d >/dev/null 2>&1 || die "the peer cannot start the stack: $(compose up -d 2>&1 | tail -n 3)"
sleep 1
customers "$control"
for version in 1 2 3; do
    sleep 2
    file "$version" 1
    now_ms >>"$folder/switches"
    compose up -d >/dev/null 2>&1
done
verdict 1
