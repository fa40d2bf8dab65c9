#!/usr/bin/env bats
# Jobs over two hosts: network namespaces joined by a link that can be cut (tests/two_hosts.sh).

setup() {
    [ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
    command -v ip >/dev/null || skip "ip (iproute2) is not installed"
    command -v mpirun >/dev/null || skip "mpirun is not installed"
    mpirun --version 2>/dev/null | grep -q 'Open MPI' || skip "mpirun is not Open MPI's"
    export LT_HOSTS="lt$$"
    tool=$(cd "$(dirname "$(command -v lt-train)")/../tests/comm" && pwd)/tool_watch_rank
    hosts=$(cd "$BATS_TEST_DIRNAME/.." && pwd)/two_hosts.sh
    cd "$BATS_TEST_TMPDIR" || exit 1
    sh "$hosts" up 2>up.err || { sh "$hosts" down; skip "no network namespaces: $(tail -n 1 up.err)"; }
}

teardown() {
    [ -z "${hosts:-}" ] || sh "$hosts" down
}

start_job() { # OPTION...: four ranks, two a host, in the background
    sh "$hosts" mpirun -n 4 "$tool" --meet="$PWD/meet" --steps=100000 "$@" >out 2>err &
    job=$!
    for _ in $(seq 1000); do [ "$(grep -c supervisor out)" -eq 4 ] && return; sleep 0.02; done
    cat out err
    return 1
}

# Waits for the job's failure and the end of every process on both hosts; $seconds is how long it took.
end_job() {
    local began=$SECONDS
    timeout 40 tail --pid=$job -f /dev/null
    while [ -n "$(ip netns pids "$LT_HOSTS-a"; ip netns pids "$LT_HOSTS-b")" ]; do
        [ $((SECONDS - began)) -lt 40 ]
        sleep 0.02
    done
    ! wait $job
    seconds=$((SECONDS - began))
    echo "$seconds s"
    cat out err
}

@test "two hosts: four ranks meet, and end in good order" {
    run sh "$hosts" mpirun -n 4 "$tool" --meet="$PWD/meet" --steps=50
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c 'ended at step 50' <<<"$output")" -eq 4 ]
}

@test "two hosts: a rank killed on the other host is named with its host, all is gone in 10 s" {
    start_job
    kill -9 "$(sed -n 's/^rank 3 pid \([0-9]*\) .*/\1/p' out)"
    end_job
    [ $seconds -lt 10 ]
    [ "$(grep -c 'error: ' err)" -eq 1 ]
    grep -q "error: rank 3 ($LT_HOSTS-b, pid [0-9]*) died: signal 9 (Killed); last step " err
}

@test "two hosts: a cut link is noticed in 30 s, both sides end" {
    start_job
    sleep 1
    sh "$hosts" cut
    end_job
    [ $seconds -lt 30 ]
    [ "$(grep -c 'error: ' err)" -eq 1 ]
    grep -q "error: lost contact with rank [23] ($LT_HOSTS-b, pid [0-9]*): not heard of for [89] s; last step " err
}
