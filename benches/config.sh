#!/usr/bin/env bash
# `shopctl config` on a stack of 68 services against `docker-compose config` on the same
# file; runs alternate. The median has to stay below LIMIT_MS, and the ratio below LIMIT.
#
#   benches/config.sh [STACKFILE]
#
# The file is the one of Train Ticket among the outside conformance cases:
# SHOPCTL_COMPOSE_CASES=FOLDER, else those beside the checkout. Its absence is a failure,
# not a skip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"
find_peer

cases=${SHOPCTL_COMPOSE_CASES:-$here/../../shared/compose-cases}
file=${1:-$cases/shop-train-ticket-jaeger/in/deployment/docker-compose-manifests/docker-compose-with-jaeger.yml}
[ -f "$file" ] || die "there is no $file: name a stack file, or set SHOPCTL_COMPOSE_CASES=FOLDER"
printf 'file: %s services\n' "$("$shopctl" -f "$file" config --services 2>/dev/null | wc -l)"

python3 - "${ROUNDS:-30}" "${LIMIT_MS:-10}" "${LIMIT:-0.15}" "$file" "$(command -v "$shopctl")" "${peer[@]}" <<'PY'
import os, shutil, statistics, sys, time

rounds, limit_ms, limit = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
file, program, *peer = sys.argv[4:]
peer[0] = shutil.which(peer[0]) or sys.exit(f"error: there is no {peer[0]}")
silent = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)]

def took(words):
    start = time.perf_counter()
    child = os.posix_spawn(words[0], words, os.environ, file_actions=silent)
    _, status = os.waitpid(child, 0)
    end = time.perf_counter()
    if status != 0:
        sys.exit(f"error: failed: {' '.join(words)}")
    return (end - start) * 1000

runs = {"shopctl config": [program], "docker-compose config": peer}
times = {name: [] for name in runs}
for words in runs.values():
    words += ["-f", file, "config"]
    took(words)  # the files are in memory from here on
for _ in range(rounds):
    for name, words in runs.items():
        times[name].append(took(words))
for name, values in times.items():
    print(f"{name:<24} median {statistics.median(values):8.2f} ms   min {min(values):8.2f}   max {max(values):8.2f}   n {len(values)}")
ours, theirs = times.values()
# Round by round, because what else a machine does changes from one to the next.
ratio = statistics.median(one / other for one, other in zip(ours, theirs))
print(f"ratio {ratio:.3f}   limit {limit:g}")
if statistics.median(ours) > limit_ms:
    sys.exit(f"error: it takes {statistics.median(ours):.2f} ms; the limit is {limit_ms:g} ms")
if ratio > limit:
    sys.exit("error: the ratio is above its limit")
PY
