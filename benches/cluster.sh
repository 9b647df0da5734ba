#!/usr/bin/env bash
# A stack of 200 services and 1,000 replicas on a cluster that has it already: how long a
# plan and a deploy with nothing to do take, and how much memory. Medians above PLAN_MS or
# DEPLOY_MS, or more than MEMORY_MB, end it with 1.
#
#   SHOPCTL_TEST_KUBECONFIG=FILE benches/cluster.sh
#
# The cluster needs room for 1,000 pods: of the control plane for tests NODES=12. Its
# namespace bench-cluster goes at the end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"
export KUBECONFIG=${SHOPCTL_TEST_KUBECONFIG:?names the kubeconfig of a cluster}

folder=$(mktemp -d)
# shellcheck disable=SC2317,SC2329 # called by the trap
clean_up() {
    "$shopctl" -f "$folder/stack.yaml" down --volumes -y --progress none || true
    rm -rf "$folder"
}
trap clean_up EXIT
{
    printf 'name: bench-cluster\nx-shop: { backend: kubernetes }\nservices:\n'
    for number in $(seq 200); do
        printf '  s%s:\n    image: shop/s%s:1\n    environment: { NUMBER: "%s" }\n    expose: ["8000"]\n' "$number" "$number" "$number"
        printf '    deploy: { replicas: 5, update_config: { monitor: 0s }, resources: { reservations: { cpus: "0.01", memory: 8M } } }\n'
    done
} >"$folder/stack.yaml"

printf 'deploying 1,000 replicas of 200 services\n'
"$shopctl" -f "$folder/stack.yaml" deploy --progress none --timeout 15m

python3 - "${ROUNDS:-10}" "${PLAN_MS:-1000}" "${DEPLOY_MS:-2000}" "${MEMORY_MB:-150}" "$(command -v "$shopctl")" "$folder/stack.yaml" <<'PY'
import os, statistics, sys, time

rounds, plan_ms, deploy_ms, memory_mb = int(sys.argv[1]), *map(float, sys.argv[2:5])
program, file = sys.argv[5:]
silent = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)]
missed = False
for words, limit in ((["plan", "--check"], plan_ms), (["deploy"], deploy_ms)):
    times, most = [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        child = os.posix_spawn(program, [program, "-f", file, *words], os.environ, file_actions=silent)
        _, status, used = os.wait4(child, 0)
        times.append((time.perf_counter() - start) * 1000)
        most = max(most, used.ru_maxrss / 1024)
        if status != 0:
            sys.exit(f"error: failed, or there was something to do: shopctl {' '.join(words)}")
    median = statistics.median(times)
    missed |= median > limit or most > memory_mb
    print(f"{words[0]:<8} median {median:8.1f} ms (limit {limit:g})   max {max(times):8.1f}   memory {most:6.1f} MB (limit {memory_mb:g})   n {rounds}")
sys.exit("error: above its limit" if missed else 0)
PY
