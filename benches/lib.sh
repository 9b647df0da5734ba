# shellcheck shell=bash
# What the benches share: a client of their own for the engine (curl on its
# socket), a clock, medians. Sourced, never run.

socket=${DOCKER_SOCKET:-/var/run/docker.sock}
shopctl=${SHOPCTL:-shopctl}
# shellcheck disable=SC2034 # used by the benches
rounds=${ROUNDS:-7}
concurrency=8 # the same as shopctl's own bound on engine calls
image="shopctl-bench:1"

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is needed for this bench: $2"; }
need curl "apt-get install curl"
need python3 "apt-get install python3"
command -v "$shopctl" >/dev/null 2>&1 || die "shopctl is needed: ./install.sh, or SHOPCTL=FILE"

# engine METHOD PATH [BODY]: one call, its answer on stdout; fails on 4xx, 5xx.
engine() {
    curl -sS --fail-with-body --unix-socket "$socket" -X "$1" -H 'Content-Type: application/json' \
        ${3:+-d "$3"} "http://engine/v1.41$2"
}
export -f engine
export socket

# find_peer: Docker Compose 2 as a command, in the array `peer`: COMPOSE=FILE, else the
# one beside the checkout, else `docker compose`, else docker-compose. An absent peer is
# a failure, not a skip.
find_peer() {
    local beside
    beside=$(dirname "${BASH_SOURCE[0]}")/../../shared/peer/docker-compose
    if [ -n "${COMPOSE:-}" ]; then
        peer=("$COMPOSE")
    elif [ -x "$beside" ]; then
        peer=("$beside")
    elif docker compose version >/dev/null 2>&1; then
        peer=(docker compose)
    elif docker-compose version --short 2>/dev/null | grep -q '^v\?2\.'; then
        peer=(docker-compose)
    else
        die "Docker Compose 2 is the peer of this bench and is absent: install it, or set COMPOSE=FILE"
    fi
    printf 'peer: Docker Compose %s\n' "$("${peer[@]}" version --short)"
}

now_ms() { local t=${EPOCHREALTIME/[^0-9]/}; printf '%d\n' "$((t / 1000))"; }

# clock COMMAND…: milliseconds it took, on stdout; its output is dropped.
clock() {
    local start end
    start=$(now_ms)
    "$@" >/dev/null 2>&1 || die "failed: $*"
    end=$(now_ms)
    printf '%d\n' "$((end - start))"
}

# summary FILE…: median, smallest and largest of each file's numbers. Of two files the
# ratio too: round by round, because what else a machine does changes from one round to
# the next, and the two runs of a round have most of it in common.
summary() {
    LIMIT=${LIMIT:-} python3 - "$@" <<'PY' || missed=1
import os, statistics, sys
columns = []
for name in sys.argv[1:]:
    values = [float(line) for line in open(name)]
    columns.append(values)
    print(f"{name.rsplit('/', 1)[-1]:<24} median {statistics.median(values):8.1f} ms   min {min(values):8.1f}   max {max(values):8.1f}   n {len(values)}")
if len(columns) == 2:
    ratios = [ours / theirs for ours, theirs in zip(*columns)]
    ratio, limit = statistics.median(ratios), os.environ["LIMIT"]
    print(f"ratio {ratio:.3f}   min {min(ratios):.3f}   max {max(ratios):.3f}" + (f"   limit {limit}" if limit else ""))
    if limit and ratio > float(limit):
        sys.exit("error: the ratio is above its limit")
PY
}

# verdict: ends a bench, with 1 when a ratio was above its limit.
missed=0
verdict() { [ "$missed" = 0 ]; }

# free_port: a port of 127.0.0.1 that nothing listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# make_image FILE: an image FROM scratch that holds this one static binary.
make_image() {
    local folder
    folder=$(mktemp -d)
    cp "$1" "$folder/workload"
    tar -C "$folder" -cf - workload | curl -sS --fail-with-body --unix-socket "$socket" -X POST --data-binary @- \
        -H 'Content-Type: application/x-tar' \
        "http://engine/v1.41/images/create?fromSrc=-&repo=${image%:*}&tag=${image#*:}&changes=ENTRYPOINT%20%5B%22%2Fworkload%22%5D" >/dev/null
    rm -rf "$folder"
}

# floor_up PREFIX COUNT: the engine's own floor: the same creates and starts in
# parallel, and nothing else. The bodies have what makes a replica of a service one:
# a restart policy, a weight and a reservation, a name to be found by and one of its own.
floor_up() {
    engine POST /networks/create "{\"Name\":\"$1\",\"Labels\":{\"shopctl-bench\":\"$1\"}}" >/dev/null
    floor_more "$1" 1 "$2"
}
floor_more() {
    export prefix=$1 image
    # A number comes as an argument: xargs would replace a placeholder inside the JSON's words too.
    # shellcheck disable=SC2016 # expanded by the inner shell
    seq "$2" "$3" | xargs -P "$concurrency" -n 1 bash -c '
        set -e
        number=$1
        host="{\"NetworkMode\":\"$prefix\",\"RestartPolicy\":{\"Name\":\"unless-stopped\"},\"CpuShares\":2,\"MemoryReservation\":6291456}"
        names="{\"EndpointsConfig\":{\"$prefix\":{\"Aliases\":[\"trivial\",\"i-$number\"]}}}"
        body="{\"Image\":\"$image\",\"Labels\":{\"shopctl-bench\":\"$prefix\"},\"HostConfig\":$host,\"NetworkingConfig\":$names}"
        engine POST "/containers/create?name=$prefix-$number" "$body" >/dev/null
        engine POST "/containers/$prefix-$number/start" >/dev/null' floor
}

# floor_down PREFIX: removes what floor_up made, by label.
floor_down() {
    local filter="%7B%22label%22%3A%5B%22shopctl-bench%3D$1%22%5D%7D"
    engine GET "/containers/json?all=1&filters=$filter" |
        python3 -c 'import json,sys; [print(c["Id"]) for c in json.load(sys.stdin)]' |
        xargs -r -P "$concurrency" -I ID bash -c 'engine DELETE "/containers/ID?force=1" >/dev/null'
    engine DELETE "/networks/$1" >/dev/null 2>&1 || true
}
