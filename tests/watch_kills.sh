#!/bin/sh
# Kills a rank, or now and then its supervisor, of a job of three with SIGKILL at N random moments and
# looks at what is left: one line that names the rank, a failed job in less than 10 s, no process.
#   PATH=build/release/bin:$PATH sh tests/watch_kills.sh [N [SEED]]     default 100, seed from the clock
# Every fourth job is started by mpirun where there is one, the others by hand.
set -u
kills=${1:-100}
seed=${2:-$(date +%s)}
tool=$(cd "$(dirname "$(command -v lt-train)")/../tests/comm" && pwd)/tool_watch_rank || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM

die() {
    echo "watch_kills: $* (seed $seed, kill $n)" >&2
    sed 's/^/    /' out err >&2
    exit 1
}

state=$((seed % 2147483646 + 1))
draw() {
    state=$((state * 48271 % 2147483647))
    drawn=$((state % $1))
}

by_hand() {
    pids=
    for r in 0 1 2; do
        "$tool" --meet=meet --rank=$r --world=3 --steps=100000 &
        pids="$pids $!"
    done
    failed=0
    for p in $pids; do wait "$p" || failed=$?; done
    return $failed
}

by_mpirun() {
    mpirun --oversubscribe -n 3 "$tool" --meet=meet --steps=100000
}

gone() { # PID: no process, or one that only waits to be buried
    ! grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null
}

wait_until() { # SECONDS COMMAND...
    left=$(($1 * 50))
    shift
    until "$@"; do
        [ $left -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.02
    done
}

all_joined() {
    [ "$(grep -c '^rank . pid' out)" -eq 3 ]
}

echo "watch_kills: seed $seed"
n=0 launched=0
while [ $n -lt "$kills" ]; do
    n=$((n + 1))
    rm -f meet
    start=by_hand
    if [ $((n % 4)) -eq 0 ] && command -v mpirun >/dev/null; then
        start=by_mpirun
        launched=$((launched + 1))
    fi
    : >out
    (exec 2>err >out; $start) &
    job=$!
    wait_until 20 all_joined || die "the ranks did not meet"
    draw 400
    sleep "$(printf '0.%03d' "$drawn")"
    draw 3
    rank=$drawn
    draw 4
    if [ "$drawn" -eq 0 ]; then
        victim=$(sed -n "s/^rank $rank pid .* supervisor //p" out)
        expected="lost contact with rank $rank (.*its supervisor is gone"
    else
        victim=$(sed -n "s/^rank $rank pid \([0-9]*\) .*/\1/p" out)
        expected="rank $rank (.*, pid $victim) died: signal 9 (Killed); last step [0-9]*, phase "
    fi
    began=$(date +%s)
    kill -9 "$victim" || die "no process $victim to kill"
    wait $job && die "the job did not fail"
    [ $(($(date +%s) - began)) -lt 10 ] || die "the job took $(($(date +%s) - began)) s to end"
    [ "$(grep -c 'error: ' err)" -eq 1 ] || die "expected one line of error"
    grep -q "error: $expected" err || die "expected \"$expected\""
    for p in $(sed -n 's/^rank . pid \([0-9]*\) supervisor \([0-9]*\)/\1 \2/p' out); do
        wait_until 2 gone "$p" || die "process $p is left behind"
    done
done
echo "$n kills, $launched of them under mpirun: each named, nothing left behind"
