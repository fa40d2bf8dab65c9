#!/bin/sh
# setup.sh - installs what this machine lacks to build, run and test lt.
#
#     sh pipelines/setup.sh run     the build and `make demo`
#     sh pipelines/setup.sh test    the same and `make check`, `make lint`, `make fuzz`, .ci/run
#
# Debian and Ubuntu: apt-get, through sudo unless root; nothing is fetched when nothing is missing.
# Elsewhere it names the packages and stops.  CUDA and its driver are left to the machine's owner:
# the Makefile builds the GPU parts when it finds nvcc.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

run="gcc make binutils libc6-dev libzstd-dev libyaml-dev libjansson-dev libopenblas-dev zlib1g-dev
     zstd bible-kjv libopenmpi-dev openmpi-bin"
test="g++ bats jq python3 strace procps e2fsprogs libmpich-dev mpich"
# Only `make lint` and `make fuzz` need these, and only these versions; a release without them
# can still run every test.
clang="clang-14 clang-format-14 libclang-rt-14-dev"
# Jobs over two hosts and under SLURM are tested where these are: 4 MB, and without an
# /etc/slurm/slurm.conf no SLURM is started.
cluster="iproute2 munge slurm-wlm"

case "${1:-}" in
run) need="$run" wish="" ;;
test) need="$run $test" wish="$clang $cluster" ;;
*)
    echo "usage: sh pipelines/setup.sh run|test" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup.sh: this is no Debian or Ubuntu system; please install what provides:" >&2
    echo $need $wish >&2
    exit 1
fi

missing() {
    for package in "$@"; do
        dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' ||
            echo "$package"
    done
}
known() {
    for package in "$@"; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            echo "$package"
        else
            echo "setup.sh: this release has no $package; some checks are left out" >&2
        fi
    done
}

need=$(missing $need)
wish=$(missing $wish)
if [ -z "$need$wish" ]; then
    echo "setup.sh: everything for '$1' is installed"
    exit 0
fi
echo "setup.sh: installing" $need $wish

if [ "$(id -u)" -eq 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1; then
    root=sudo
else
    echo "setup.sh: not root and no sudo; run as root: apt-get install" $need $wish >&2
    exit 1
fi
apt() {
    $root env PATH="$PATH" DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}
apt update
apt install -y --no-install-recommends $need $(known $wish)
