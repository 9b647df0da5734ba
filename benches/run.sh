#!/usr/bin/env bash
# Every bench but the long benches/zero-loss.sh; ends with 1 when one misses its limit.
#
# Run it on a machine that does nothing else: what is compared alternates, so load
# does not decide a ratio, but it widens the spread.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
missed=0
for bench in start config memory noop status deploy rollout; do
    printf '\n==> benches/%s.sh\n' "$bench"
    "$here/$bench.sh" || missed=1
done
exit "$missed"
