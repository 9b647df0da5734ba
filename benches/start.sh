#!/usr/bin/env bash
# How long the program takes to start: `shopctl --version` against /bin/true, which is
# what any process costs on this machine. Runs alternate; the median has to stay below
# LIMIT_MS.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=benches/lib.sh
. "$here/lib.sh"

python3 - "$(command -v "$shopctl")" "${ROUNDS:-100}" "${LIMIT_MS:-5}" <<'PY'
import os, statistics, sys, time

program, rounds, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
silent = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]

def took(words):
    start = time.perf_counter()
    child = os.posix_spawn(words[0], words, os.environ, file_actions=silent)
    _, status = os.waitpid(child, 0)
    end = time.perf_counter()
    if status != 0:
        sys.exit(f"error: failed: {' '.join(words)}")
    return (end - start) * 1000

runs = {"shopctl --version": [program, "--version"], "/bin/true": ["/bin/true"]}
times = {name: [] for name in runs}
for words in runs.values():
    took(words)  # the file is in memory from here on
for _ in range(rounds):
    for name, words in runs.items():
        times[name].append(took(words))
medians = []
for name, values in times.items():
    medians.append(statistics.median(values))
    print(f"{name:<24} median {medians[-1]:8.2f} ms   min {min(values):8.2f}   max {max(values):8.2f}   n {len(values)}")
print(f"ratio {medians[0] / medians[1]:.2f}")
if medians[0] >= limit:
    sys.exit(f"error: the start takes {medians[0]:.2f} ms; the limit is {limit:g} ms")
PY
