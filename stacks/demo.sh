#!/bin/sh
# Deploys the shop, places an order through its published ports, shows status.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
goods=http://127.0.0.1:8001
order=http://127.0.0.1:8000

step() { printf '\n==> %s\n' "$*"; }

# ask METHOD URL [BODY]: prints the answer, fails on anything but 2xx.
ask() {
    method=$1
    url=$2
    body=${3:-}
    key=demo-$(date +%s)-$$-$method-$(printf '%s' "$url" | cksum | cut -d ' ' -f 1)
    curl -sS --fail-with-body --max-time 10 -X "$method" -H 'Content-Type: application/json' \
        -H "Idempotency-Key: $key" ${body:+-d "$body"} "$url"
    echo
}

step "shopctl deploy"
shopctl -f "$here/shop.yaml" deploy

step "an article with stock, an order, its payment, its refund"
# Two runs within a second sell two articles.
sku=CUP-$(date +%s)-$$
ask POST "$goods/goods" "{\"sku\":\"$sku\",\"name\":\"Cup\",\"price\":{\"amount\":1999,\"currency\":\"EUR\"}}"
ask PUT "$goods/goods/$sku/stock" '{"on_hand":20}'
created=$(ask POST "$order/orders" "{\"items\":[{\"sku\":\"$sku\",\"qty\":1}],\"address\":{\"name\":\"Ada\",\"line1\":\"Main St 1\",\"city\":\"Berlin\",\"postal_code\":\"10115\",\"country\":\"DE\"}}")
printf '%s\n' "$created"
id=$(printf '%s' "$created" | sed -n 's/^{.*"id":"\([^"]*\)".*/\1/p')
[ -n "$id" ] || { echo "error: the answer holds no order id" >&2; exit 1; }
ask POST "$order/orders/$id/pay" '{"method":"card","token":"tok_ok"}'
ask POST "$order/orders/$id/refund" '{"reason":"demo"}'

step "shopctl status"
shopctl -f "$here/shop.yaml" status

cat <<'END'

The shop runs on http://127.0.0.1:8000 (orders) and http://127.0.0.1:8001 (goods). Try next:
  shopctl -f stacks/shop.yaml scale order=3     more replicas behind the same port
  shopctl -f stacks/shop.yaml plan              what a deploy would change, and why
  shopctl -f stacks/shop.yaml capacity          demand, capacity and R = M / C
  shopctl -f stacks/shop.yaml logs -f order     what the replicas say
  shopctl -f stacks/shop.yaml down              stop and remove it (data stays; --volumes removes it too)
END
