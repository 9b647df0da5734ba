#!/bin/sh
# Installs shopctl from this checkout, and shows it at work.
#
#   ./install.sh               build and install shopctl
#   ./install.sh demo          the same, then deploy the shop and place an order
#   ./install.sh --with-rust   install Rust with rustup first (asks; into your home)
#   ./install.sh test-tools    what tests/run.sh needs beyond that
#
# SHOPCTL_BINARY=FILE  install this binary instead of building one
# PREFIX=DIR           install into DIR/bin (default: /usr/local as root, else ~/.local)
#
# Safe to run twice. Runs nothing with sudo. Checks everything before it writes.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
command_name=install
with_rust=no

say() { printf '%s\n' "$*" >&2; }
step() { printf '==> %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
has_apt() { have apt-get && [ -r /etc/debian_version ]; }

usage() { sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//'; }

for argument in "$@"; do
    case $argument in
        demo) command_name=demo ;;
        test-tools) command_name=test-tools ;;
        --with-rust) with_rust=yes ;;
        -h | --help) usage; exit 0 ;;
        *) say "error: unknown argument: $argument"; usage >&2; exit 2 ;;
    esac
done

# The one place that names the oldest Rust: rust-version in Cargo.toml.
wanted_rust=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$here/Cargo.toml" | head -n 1)

# rust_is_recent: whether cargo and rustc on PATH are new enough.
rust_is_recent() {
    have cargo && have rustc || return 1
    found=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$found" ] || return 1
    [ "${found%%.*}" -gt "${wanted_rust%%.*}" ] && return 0
    [ "${found%%.*}" -eq "${wanted_rust%%.*}" ] || return 1
    found_minor=${found#*.}
    wanted_minor=${wanted_rust#*.}
    [ "${found_minor%%.*}" -ge "${wanted_minor%%.*}" ]
}

engine_answers() {
    host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    case $host in
        unix://*)
            socket=${host#unix://}
            [ -S "$socket" ] || return 1
            if have curl; then
                curl -fsS --max-time 5 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1
            elif have docker; then
                docker version >/dev/null 2>&1
            else
                return 0
            fi
            ;;
        *) return 0 ;; # A remote engine: shopctl itself says when it does not answer.
    esac
}

has_systemd() { [ -d /run/systemd/system ] && have systemctl; }

# Where the binary goes, and whether that folder is on PATH.
if [ -n "${PREFIX:-}" ]; then
    bin_dir=$PREFIX/bin
elif is_root; then
    bin_dir=/usr/local/bin
else
    bin_dir=$HOME/.local/bin
fi

# --- Checks: everything that is missing is named at once, before any write. ---

missing=''
need() { # need WHAT COMMAND
    missing="$missing
  $1:
    $2"
}

packages=''
builds=yes
[ -z "${SHOPCTL_BINARY:-}" ] || builds=no
[ "$command_name" != demo ] || builds=yes # the shop's services are built from source

if [ -n "${SHOPCTL_BINARY:-}" ] && [ ! -x "$SHOPCTL_BINARY" ]; then
    die "SHOPCTL_BINARY=$SHOPCTL_BINARY is not an executable file"
fi
if [ "$builds" = yes ] && ! rust_is_recent && [ "$with_rust" = no ]; then
    if have rustc; then what="Rust $wanted_rust or newer ($(rustc --version) is too old)"; else what="Rust $wanted_rust or newer"; fi
    need "$what" "./install.sh $( [ "$command_name" = install ] || printf '%s ' "$command_name" )--with-rust      (or, with a binary from elsewhere: SHOPCTL_BINARY=FILE ./install.sh)"
fi
if [ "$builds" = yes ] && ! have cc; then packages="$packages gcc libc6-dev"; fi
if [ "$builds" = yes ] && [ "$with_rust" = yes ] && ! rust_is_recent && ! have curl; then packages="$packages curl ca-certificates"; fi
if [ "$command_name" = demo ] && ! have curl; then packages="$packages curl"; fi
if [ "$command_name" = test-tools ]; then
    for tool in shellcheck mmdebstrap fuse-overlayfs; do have "$tool" || packages="$packages $tool"; done
    have ip || packages="$packages iproute2"
    have cc || packages="$packages gcc libc6-dev"
    have git || packages="$packages git"
    have curl || packages="$packages curl"
    python3 -c 'import venv, ensurepip' 2>/dev/null || packages="$packages python3-venv"
    # Any Docker Compose will do for the tests; they take COMPOSE=FILE too.
    if [ -z "${COMPOSE:-}" ] && ! docker compose version >/dev/null 2>&1 && ! have docker-compose; then
        packages="$packages docker-compose"
    fi
fi
engine=running
if [ "$command_name" != install ] && ! engine_answers; then
    engine=stopped
    if ! have dockerd && [ ! -x /usr/sbin/dockerd ]; then packages="$packages docker.io"; fi
fi

packages=${packages# }
can_install=no
if is_root && has_apt; then can_install=yes; fi
if [ -n "$packages" ] && { [ "$can_install" = no ] || [ -n "$missing" ]; }; then
    if has_apt; then
        sudo=''
        is_root || sudo='sudo '
        need "packages ($packages)" "${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends $packages"
    else
        need "packages ($packages)" "install them with this system's package manager"
    fi
fi
if [ "$engine" = stopped ] && ! is_root; then
    need "a running Docker Engine that $(id -un) may use" "sudo systemctl start docker && sudo usermod -aG docker $(id -un)      (then log in again)"
fi
if [ -n "$missing" ]; then
    say "Nothing was changed. Missing on this machine, each with the command that mends it:$missing"
    exit 1
fi

# --- Work ---

if [ "$builds" = yes ] && ! rust_is_recent; then
    say "rustup will install Rust into $HOME/.rustup and $HOME/.cargo (it downloads from the Rust project)."
    [ -t 0 ] || die "--with-rust asks first and needs a terminal; install Rust yourself, then run ./install.sh again"
    printf 'Install it? [y/N] ' >&2
    read -r answer
    case $answer in y | Y | yes) ;; *) die "not installed; nothing was changed" ;; esac
fi

if [ -n "$packages" ]; then
    step "installing packages: $packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >&2
    # shellcheck disable=SC2086 # a list of package names
    apt-get install -y -q --no-install-recommends $packages >&2
fi

if [ "$builds" = yes ] && ! rust_is_recent; then
    curl --proto '=https' --tlsv1.2 -fsS https://static.rust-lang.org/rustup/rustup-init.sh | sh -s -- -y --profile minimal --no-modify-path
    PATH=$HOME/.cargo/bin:$PATH
    export PATH
    rust_is_recent || die "rustup did not bring Rust $wanted_rust; see the lines above"
fi

start_engine() {
    [ "$engine" = stopped ] || return 0
    if has_systemd; then
        step "starting the Docker Engine"
        systemctl start docker
    elif [ -x /etc/init.d/docker ]; then
        step "starting the Docker Engine"
        /etc/init.d/docker start >&2
    else
        die "the Docker Engine is installed but not running; start it with: dockerd >/var/log/dockerd.log 2>&1 &"
    fi
    tries=0
    until engine_answers; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || die "the Docker Engine did not answer within 30 s; see: journalctl -u docker, or /var/log/docker.log"
        sleep 0.5
    done
}

install_binary() {
    if [ -n "${SHOPCTL_BINARY:-}" ]; then
        built=$SHOPCTL_BINARY
    else
        step "building shopctl (release, static); the first time takes some minutes"
        (cd "$here" && cargo build --release --locked -p shopctl) >&2
        triple=$(rustc -vV | sed -n 's/^host: //p')
        built=${CARGO_TARGET_DIR:-$here/target}/$triple/release/shopctl
    fi
    mkdir -p "$bin_dir"
    if ! cmp -s "$built" "$bin_dir/shopctl"; then
        # Written beside it and renamed: a running shopctl keeps its own file.
        cp "$built" "$bin_dir/.shopctl.$$"
        chmod 755 "$bin_dir/.shopctl.$$"
        mv "$bin_dir/.shopctl.$$" "$bin_dir/shopctl"
    fi
    step "installed $bin_dir/shopctl ($("$bin_dir/shopctl" --version))"
    case :$PATH: in
        *:"$bin_dir":*) ;;
        *) say "note: $bin_dir is not on PATH; add it with: export PATH=\"$bin_dir:\$PATH\"" ;;
    esac
}

case $command_name in
    install)
        install_binary
        say "Next: ./install.sh demo, or in a folder with a compose file: shopctl plan"
        ;;
    demo)
        install_binary
        start_engine
        PATH=$bin_dir:$PATH sh "$here/stacks/demo.sh"
        ;;
    test-tools)
        start_engine
        # The client is a package of its own where the engine's does not hold it.
        if ! have docker; then
            step "installing the Docker client"
            apt-get install -y -q --no-install-recommends docker-cli >&2 || apt-get install -y -q --no-install-recommends docker.io >&2
        fi
        if ! cargo nextest --version >/dev/null 2>&1; then
            step "installing cargo-nextest"
            cargo install --locked cargo-nextest >&2
        fi
        # The schemas of a cluster's objects, in a folder of their own.
        tools=$here/target/test-tools
        # One that was moved here no longer finds itself.
        if ! "$tools/bin/kubernetes-validate" --version >/dev/null 2>&1; then
            step "installing kubernetes-validate"
            python3 -m venv --clear "$tools"
            "$tools/bin/pip" install -q kubernetes-validate==1.37.0 >&2
        fi
        ;;
esac
