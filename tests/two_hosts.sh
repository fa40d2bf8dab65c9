#!/bin/sh
# Two network namespaces as two hosts, lt-a and lt-b, joined by a link; root and ip(8) are needed.
# $LT_HOSTS, in place of lt, lets more than one pair stand.
#   two_hosts.sh up             sets both up: 10.98.76.1 and .2
#   two_hosts.sh on a|b CMD...  runs CMD on that host, under a host name of its own
#   two_hosts.sh alive a|b      fails when no process runs there
#   two_hosts.sh cut|mend       takes the link down, and up again
#   two_hosts.sh mpirun ARG...  mpirun on host a with two slots on each host
#   two_hosts.sh down           ends what runs there and removes both
# As mpirun's rsh agent it is called `two_hosts.sh ADDRESS CMD...`.
set -eu
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
net=10.98.76
name=${LT_HOSTS:-lt}

on() { # a|b CMD...
    host=$1
    shift
    exec ip netns exec "$name-$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' \
        "$name-$host" "$@"
}

case "${1:-}" in
up)
    for h in a b; do
        ip netns add "$name-$h"
        ip -n "$name-$h" link set lo up
    done
    ip -n "$name-a" link add veth type veth peer name veth netns "$name-b"
    ip -n "$name-a" address add $net.1/24 dev veth
    ip -n "$name-b" address add $net.2/24 dev veth
    for h in a b; do ip -n "$name-$h" link set veth up; done
    ;;
on)
    shift
    on "$@"
    ;;
alive)
    [ -n "$(ip netns pids "$name-$2")" ]
    ;;
cut)
    ip -n "$name-b" link set veth down
    ;;
mend)
    ip -n "$name-b" link set veth up
    ;;
mpirun)
    shift
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
    on a mpirun --mca plm_rsh_agent "sh $self" --mca pml ob1 --mca btl tcp,self \
        --mca btl_tcp_if_include $net.0/24 --mca oob_tcp_if_include $net.0/24 \
        --host $net.1:2,$net.2:2 --oversubscribe --bind-to none "$@"
    ;;
down)
    for h in a b; do
        ip netns pids "$name-$h" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns del "$name-$h" 2>/dev/null || true
    done
    ;;
$net.1)
    shift
    on a sh -c "$*"
    ;;
$net.2)
    shift
    status=0
    (on b sh -c "$*") || status=$?
    # Over a link that is cut ssh would not hear of that end, and wait.
    [ -n "$(ip -n "$name-b" link show veth up 2>/dev/null)" ] || exec sleep 1000
    exit $status
    ;;
*)
    echo "usage: two_hosts.sh up|on HOST CMD...|alive HOST|cut|mend|mpirun ARG...|down" >&2
    exit 2
    ;;
esac
