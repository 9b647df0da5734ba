#!/usr/bin/env bash
# A deploy of the demo with nothing to do, against `docker compose up -d` of the
# same services on the same images; runs alternate.
#
# The peer is Docker Compose 2: COMPOSE=FILE, else `docker compose`, else
# docker-compose. An absent peer is a failure, not a skip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"
rounds=${ROUNDS:-21}
find_peer

shop=$here/../stacks/shop.yaml
folder=$(mktemp -d)
"$shopctl" -f "$shop" --progress none deploy
images=$("$shopctl" -f "$shop" status -o json)
ref() { printf '%s' "$images" | python3 -c 'import json,sys; print(next(s["image"]["ref"] for s in json.load(sys.stdin)["services"] if s["name"] == sys.argv[1]))' "$1"; }
# Compose cannot publish one port for two replicas, so the peer has one of each.
cat >"$folder/peer.yaml" <<END
services:
  goods: { build: !reset null, image: "$(ref goods)", ports: !override ["127.0.0.1:18001:8001"], deploy: { replicas: 1 } }
  order: { build: !reset null, image: "$(ref order)", ports: !override ["127.0.0.1:18000:8000"], deploy: { replicas: 1 } }
END
compose() { "${peer[@]}" -p shopctl-bench-peer -f "$shop" -f "$folder/peer.yaml" "$@"; }
trap 'compose down -v >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
compose up -d >/dev/null 2>&1 || die "the peer cannot start the stack: $(compose up -d 2>&1 | tail -n 3)"

for _ in $(seq "$rounds"); do
    clock "$shopctl" -f "$shop" --progress none deploy >>"$folder/noop-shopctl"
    clock compose up -d >>"$folder/noop-compose"
done
LIMIT=0.3 summary "$folder/noop-shopctl" "$folder/noop-compose"
verdict
