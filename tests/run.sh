#!/usr/bin/env bash
# All checks and tests, the same here and in CI: format, lints, shell scripts,
# unit, property, snapshot and architecture tests, then the real Docker Engine.
#
#   tests/run.sh            everything
#   tests/run.sh --quick    without the engine
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n==> %s\n' "$*"; }

# Some tests make folders to change root into, networks and an engine of their own.
if [ "${1:-}" != --quick ] && [ "$(id -u)" -ne 0 ]; then
    # shellcheck disable=SC2016 # to be typed as it stands
    printf 'error: the tests with an engine need root\nhint: sudo -E env "PATH=$PATH" tests/run.sh, or without an engine: tests/run.sh --quick\n' >&2
    exit 1
fi

step "tools"
./install.sh test-tools

step "format"
cargo fmt --all --check

step "shell scripts"
shellcheck install.sh stacks/*.sh tests/*.sh services/*.sh fuzz/*.sh .ci/run
find benches templates -name '*.sh' -print0 | xargs -0 -r shellcheck -x

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

profile=default
[ -z "${CI:-}" ] || profile=ci

if [ "${1:-}" = --quick ]; then
    step "tests without the engine"
    cargo nextest run --workspace --locked --profile "$profile"
else
    step "tests"
    cargo nextest run --workspace --locked --profile "$profile" --run-ignored all
fi
