#!/usr/bin/env bash
# Builds the control plane of Kubernetes 1.20 for tests from Debian's source package, into
# $CONTROL_PLANE_HOME (8 minutes on 2 cores, once); ../shared/kubernetes/control-plane
# starts and stops what it finds there.
#
# That script builds it too, as it stands: its server then ends now and then in the middle
# of a list, because a library in it (modern-go/reflect2, defect 26) hands the runtime of Go
# 1.18 and newer an iterator of an older shape. Here the iterator is put right first.
set -euo pipefail
home=$CONTROL_PLANE_HOME
bin=$home/bin
go=1.19
parts=(kube-apiserver kube-controller-manager kube-scheduler)

have() { command -v "$1" >/dev/null 2>&1; }

# What was built elsewhere, or before, still needs these to be started.
if [ -x "$bin/${parts[2]}" ] && have etcd && have openssl && have curl && have python3; then
    exit 0
fi
mkdir -p "$bin"
rm -rf "$home"/build.*/ # of one that was killed
work=$(mktemp -d "$home/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qqy --no-install-recommends etcd-server openssl curl ca-certificates python3 >/dev/null
[ ! -x "$bin/${parts[2]}" ] || exit 0
apt-get install -qqy --no-install-recommends "golang-$go-go" rsync make gcc libc6-dev dpkg-dev >/dev/null

# Lists of its own: sources are nothing that the machine's would have to hold.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n' \
    >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
CONF
export APT_CONFIG=$work/apt.conf
cd "$work"
apt-get update -qq
apt-get source -qq kubernetes >/dev/null
cd kubernetes-*/

python3 - vendor/github.com/modern-go/reflect2 <<'FIX'
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])


def change(name, old, new):
    path = folder / name
    text, count = re.subn(old, lambda _: new, path.read_text(), flags=re.S)
    assert count == 1, (name, old, count)
    path.write_text(text)


change("unsafe_link.go", r"func mapiterinit\([^)]*\) \*hiter", "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)")
fields = """type hiter struct {
	key, value, mapType, header, buckets, bucketPointer unsafe.Pointer
	overflow, oldOverflow                               *[]unsafe.Pointer
	startBucket                                         uintptr
	offset                                              uint8
	wrapped                                             bool
	bits, index                                         uint8
	bucket, checkBucket                                 uintptr
}
"""
change("unsafe_link.go", r"type hiter struct \{.*?\n\}\n", fields)
change("unsafe_map.go", r"mapiterinit\(type2\.rtype, \*\(\*unsafe\.Pointer\)\(obj\)\)", "begun(type2.rtype, *(*unsafe.Pointer)(obj))")
begun = """
func begun(rtype, m unsafe.Pointer) *hiter {
	it := new(hiter)
	mapiterinit(rtype, m, it)
	return it
}
"""
path = folder / "unsafe_map.go"
path.write_text(path.read_text() + begun)
FIX

mkdir -p .go/src/k8s.io
ln -sfn ../../.. .go/src/k8s.io/kubernetes
cat >"$home/version" <<'VERSION'
KUBE_GIT_COMMIT='debian'
KUBE_GIT_TREE_STATE='clean'
KUBE_GIT_VERSION='v1.20.2'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='20'
VERSION
export GOROOT=/usr/lib/go-$go PATH=/usr/lib/go-$go/bin:$PATH GOPATH=$PWD/.go GOCACHE=$work/go
export CGO_ENABLED=0 GOPROXY=off GOSUMDB=off GO111MODULE=off FORCE_HOST_GO=y KUBE_GIT_VERSION_FILE=$home/version
for part in "${parts[@]}"; do
    make WHAT="cmd/$part" GOFLAGS=-p=2 GOLDFLAGS='-s -w' >"$home/build.log" 2>&1 || {
        tail -n 30 "$home/build.log" >&2
        exit 1
    }
    # The last one is there when all are.
    cp "_output/bin/$part" "$bin/$part.part"
    mv "$bin/$part.part" "$bin/$part"
done
