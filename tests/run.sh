#!/usr/bin/env bash
# All checks and tests, the same here and in CI: format, lints, shell scripts,
# unit, property, snapshot and architecture tests, then the real Docker Engine and a
# real control plane of Kubernetes.
#
#   tests/run.sh            everything
#   tests/run.sh --quick    without the engine and the cluster
#
# SHOPCTL_TEST_KUBECONFIG=FILE  a cluster for tests, instead of the control plane that is
#                               built from ../shared (once, kept outside the clone)
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

control_plane=../shared/kubernetes/control-plane
export CONTROL_PLANE_HOME=${CONTROL_PLANE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/shopctl-control-plane}
plane_home=$CONTROL_PLANE_HOME
plane_log=
building=
keeper=
is_ours=no

# Its processes are in a group of their own, so that a build that is given up ends whole.
build_control_plane() {
    plane_log=$(mktemp)
    setsid tests/control-plane.sh >"$plane_log" 2>&1 &
    building=$!
}

# What a run that was killed has left would end the script that starts the next one, without
# a word: it is all taken away before as after. Each process has the home in its words.
end_control_plane() {
    local file process
    for file in "$plane_home"/run/*.pid; do
        [ -f "$file" ] || continue
        process=$(cat "$file")
        if grep -qsF "$plane_home" "/proc/$process/cmdline"; then
            kill -KILL "$process" 2>/dev/null || true
        fi
    done
    rm -rf "$plane_home/run"
}

answers() { curl -fsk --max-time 5 -o "$plane_log" https://127.0.0.1:36443/readyz; }

# Its nodes are pretended by a program that ends its heartbeat for good when one answer
# comes too late, as it may on a machine that is busy: it is started again.
keep_nodes() {
    local pki=$plane_home/pki pid=$plane_home/run/nodes.pid words
    mapfile -d '' -t words <"/proc/$(cat "$pid")/cmdline"
    while sleep 5; do
        curl -fs --max-time 5 --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" \
            https://127.0.0.1:36443/api/v1/nodes 2>/dev/null | grep -q NodeStatusUnknown || continue
        kill -KILL "$(cat "$pid")" 2>/dev/null || true
        setsid "${words[@]}" >>"$plane_home/run/nodes.log" 2>&1 </dev/null &
        echo $! >"$pid"
        printf 'note: the nodes of the control plane were started again\n' >&2
        sleep 10
    done
}

# One that is up already is somebody's: it is used, and left as it is.
start_control_plane() {
    if ! wait "$building"; then
        building=
        tail -n 30 "$plane_log" >&2
        die "the control plane for the tests of a cluster was not built"
    fi
    building=
    SHOPCTL_TEST_KUBECONFIG=$plane_home/pki/admin.kubeconfig
    if ! [ -f "$SHOPCTL_TEST_KUBECONFIG" ] || ! answers; then
        is_ours=yes
        end_control_plane
        if ! SHOPCTL_TEST_KUBECONFIG=$("$control_plane" up); then
            tail -n 5 "$plane_home"/run/*.log >&2 || true
            die "the control plane did not start"
        fi
        keep_nodes &
        keeper=$!
    fi
    export SHOPCTL_TEST_KUBECONFIG
}

# shellcheck disable=SC2317,SC2329 # called by the trap
clean_up() {
    [ -z "$building" ] || kill -TERM -- "-$building" 2>/dev/null || true
    [ -z "$keeper" ] || kill "$keeper" 2>/dev/null || true
    [ "$is_ours" = no ] || end_control_plane
    [ -z "$plane_log" ] || rm -f "$plane_log"
}
trap clean_up EXIT

# Some tests make folders to change root into, networks and an engine of their own.
if [ "${1:-}" != --quick ] && [ "$(id -u)" -ne 0 ]; then
    # shellcheck disable=SC2016 # to be typed as it stands
    printf 'error: the tests with an engine need root\nhint: sudo -E env "PATH=$PATH" tests/run.sh, or without an engine: tests/run.sh --quick\n' >&2
    exit 1
fi

step "tools"
./install.sh test-tools

without=()
if [ "${1:-}" = --quick ]; then
    :
elif [ -n "${SHOPCTL_TEST_KUBECONFIG:-}" ]; then
    step "cluster: $SHOPCTL_TEST_KUBECONFIG"
elif [ -x "$control_plane" ]; then
    step "control plane: built beside the lints, in 8 minutes the first time"
    build_control_plane
elif [ -n "${CI:-}" ]; then
    die "no cluster for the tests: set SHOPCTL_TEST_KUBECONFIG, or put $control_plane beside this checkout"
else
    step "no cluster: its tests are left out (set SHOPCTL_TEST_KUBECONFIG to run them)"
    without=(-E 'not binary(kubernetes_cluster)')
fi

step "format"
cargo fmt --all --check

step "shell scripts"
shellcheck install.sh stacks/*.sh tests/*.sh services/*.sh fuzz/*.sh .ci/run
find benches templates -name '*.sh' -print0 | xargs -0 -r shellcheck -x

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo clippy --package shopctl --lib --bins --no-default-features --locked -- -D warnings

profile=default
[ -z "${CI:-}" ] || profile=ci

if [ "${1:-}" = --quick ]; then
    step "tests without the engine"
    cargo nextest run --workspace --locked --profile "$profile"
else
    if [ -n "$building" ]; then
        step "control plane"
        start_control_plane
    fi
    step "tests"
    cargo nextest run --workspace --locked --profile "$profile" --run-ignored all "${without[@]}"
fi
