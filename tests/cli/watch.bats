#!/usr/bin/env bats
# The watch over a job of several ranks, with ranks that only step (tests/comm/tool_watch_rank.c).

setup() {
    tool=$(cd "$(dirname "$(command -v lt-train)")/../tests/comm" && pwd)/tool_watch_rank
    cd "$BATS_TEST_TMPDIR" || exit 1
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
}

need_mpirun() {
    command -v mpirun || skip "mpirun is not installed"
}

# job OPTION...: three ranks by hand; $status is the last status that is not 0
job() {
    run bash -c 'for r in 0 1 2; do "$@" --meet=meet --rank=$r --world=3 & pids="$pids $!"; done
        for p in $pids; do wait $p || s=$?; done; exit ${s:-0}' job "$tool" "$@"
    echo "$output"
}

errors() {
    grep -c 'error: ' <<<"$output"
}

@test "watch: a job that ends in good order leaves no word and status 0" {
    job --steps=50
    [ "$status" -eq 0 ]
    [ "$(grep -c 'ended at step 50' <<<"$output")" -eq 3 ]
    [ "$(errors)" -eq 0 ]
}

@test "watch: ranks killed at random moments are named, and nothing is left behind" {
    if [ -n "${LT_LONG:-}" ]; then kills=100; else kills=20; fi
    run sh "$BATS_TEST_DIRNAME/../watch_kills.sh" $kills
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"$kills kills, "*": each named, nothing left behind" ]]
}

@test "watch: a rank that crashes is named with its signal, step and phase" {
    job --steps=1000 --who=1 --at=5 --misdeed=segv
    [ "$status" -eq 1 ]
    [ "$(errors)" -eq 1 ]
    [[ "$output" == *"error: rank 1 ("*") died: signal 11 (Segmentation fault); last step 5, phase backward, collective 5"* ]]
}

@test "watch: a stopped rank is found when its time is over" {
    job --steps=1000 --who=2 --at=9 --misdeed=stop --hang-timeout=1
    [ "$status" -eq 1 ]
    [ "$(errors)" -eq 1 ]
    [[ "$output" == *"error: rank 2 ("*") hangs: no rank has moved for "*" s; it is at step 9, phase backward, collective 9, stopped by a signal; rank "*" is at step 9, phase reduce, collective 10"* ]]
}

@test "watch: an endless loop is found too" {
    job --steps=1000 --who=0 --at=9 --misdeed=spin --hang-timeout=1
    [ "$status" -eq 1 ]
    [ "$(errors)" -eq 1 ]
    [[ "$output" == *"error: rank 0 ("*") hangs: no rank has moved for "*" s; it is at step 9, phase backward"* ]]
}

@test "watch: ranks that wait for one that never comes are ended, and rank 0 tells" {
    job --early --misdeed=stop --who=0 --hang-timeout=0.1
    [ "$status" -eq 1 ]
    [ "$(errors)" -eq 1 ]
    [[ "$output" == *"error: rank 0 ("*", pid "*") has waited "*" s for the others to start: one is missing, or the network between the hosts is cut" ]]
    rm meet
    job --early --misdeed=spin --who=2 --hang-timeout=0.1
    [ "$status" -eq 1 ]
    [[ "$output" == *"error: rank 2 never joined the others, which have waited for "*" s"* ]]
    rm meet
    job --early --misdeed=stall --stall-s=2 --who=1 --hang-timeout=0 --steps=10
    [ "$status" -eq 0 ]
}

@test "watch: a rank that left in good order and does not end is ended" {
    job --late --misdeed=spin --who=1 --hang-timeout=0.1 --steps=10
    [ "$status" -eq 1 ]
    [ "$(errors)" -eq 1 ]
    [[ "$output" == *"error: rank 1 ("*", pid "*") has left the others and not ended for "*" s"* ]]
}

@test "watch: a stall below the limit, a long save and hang_timeout 0 are no alarm" {
    job --steps=30 --who=1 --at=9 --misdeed=stall --stall-s=1 --hang-timeout=2
    [ "$status" -eq 0 ]
    rm meet
    job --steps=30 --save-s=2 --hang-timeout=1
    [ "$status" -eq 0 ]
    rm meet
    job --steps=30 --who=1 --at=9 --misdeed=stall --stall-s=2 --hang-timeout=0
    [ "$status" -eq 0 ]
    [ "$(errors)" -eq 0 ]
}

@test "watch: a hundred stalls in 100000 steps are no alarm (LT_LONG)" {
    [ -n "${LT_LONG:-}" ] || skip "set LT_LONG=1: takes minutes"
    job --steps=100000 --step-s=0 --who=1 --at=500 --every=1000 --misdeed=stall --stall-s=1 --hang-timeout=2
    [ "$status" -eq 0 ]
    [ "$(errors)" -eq 0 ]
}

@test "watch: a second signal, a second later, ends a rank that cannot stop" {
    "$tool" --meet=meet --misdeed=spin >out 2>err &
    job=$!
    for _ in $(seq 500); do grep -q supervisor out && break; sleep 0.01; done
    kill -TERM $job
    kill -TERM $job
    sleep 1.3
    kill -0 $job
    kill -TERM $job
    status=0
    wait $job || status=$?
    cat err
    [ "$status" -eq 143 ]
}

@test "watch: the status of a rank that gives up ends the job" {
    job --steps=1000 --who=1 --at=5 --misdeed=exit:65
    [ "$status" -eq 65 ]
    [[ "$output" == *"error: rank 1 ("*") ended with status 65; last step 5, phase backward"* ]]
    rm meet
    job --steps=1000 --who=1 --at=5 --misdeed=exit:0
    [ "$status" -eq 1 ]
}

@test "watch: one rank alone passes on its status, and its signal as 128 + N" {
    for status_of in exit:0/0 exit:1/1 exit:2/2 exit:65/65 exit:75/75 kill/137 segv/139; do
        run "$tool" --meet=meet --early --misdeed="${status_of%/*}"
        echo "$status_of: $status, $output"
        [ "$status" -eq "${status_of#*/}" ]
    done
    [[ "$output" == *"error: rank 0 ("*", pid "*") died: signal 11 (Segmentation fault); last step 0, phase start"* ]]
}

@test "watch: neither supervisor nor rank outlives the other, nor a launcher that is killed" {
    sh -c '"$0" --meet=meet --steps=100000 >out 2>err & wait' "$tool" &
    launcher=$!
    for _ in $(seq 500); do grep -q supervisor out && break; sleep 0.01; done
    read -r _ _ _ pid _ supervisor <out
    kill -9 $launcher
    for _ in $(seq 500); do [ -e "/proc/$pid" ] || [ -e "/proc/$supervisor" ] || break; sleep 0.01; done
    [ ! -e "/proc/$pid" ]
    [ ! -e "/proc/$supervisor" ]
    [[ "$(cat err)" == *"error: the launcher (pid $launcher) is gone; its ranks end" ]]
}

@test "watch: SIGUSR1 to mpirun, to a rank or to a supervisor stops all ranks at one step, status 75" {
    need_mpirun
    for to in mpirun pid supervisor; do
        rm -f meet
        mpirun --oversubscribe -n 2 "$tool" --meet=meet --steps=100000 >out 2>err &
        job=$!
        for _ in $(seq 1000); do [ "$(grep -c pid out)" -eq 2 ] && break; sleep 0.01; done
        case $to in
        mpirun) kill -USR1 $job ;;
        *) kill -USR1 "$(sed -n "s/^rank 1 .*$to \([0-9]*\).*/\1/p" out)" ;;
        esac
        status=0
        wait $job || status=$?
        echo "$to: $status"
        cat out err
        [ "$status" -eq 75 ]
        [ "$(sed -n 's/.*ended at step //p' out | uniq | wc -l)" -eq 1 ]
        [ "$(grep -c 'error: rank\|error: lost' err)" -eq 0 ]
    done
}

@test "watch: Ctrl-Z suspends the rank as well, and what follows is no alarm" {
    "$tool" --meet=meet --steps=300 --hang-timeout=1 >out 2>err &
    job=$!
    for _ in $(seq 500); do grep -q supervisor out && break; sleep 0.01; done
    read -r _ _ _ pid _ <out
    sleep 0.2
    kill -TSTP $job
    for _ in $(seq 500); do grep -q '^State:.*T' "/proc/$pid/status" && break; sleep 0.01; done
    grep -q '^State:.*T' "/proc/$pid/status"
    sleep 1.5
    kill -CONT $job
    wait $job
}
