#!/usr/bin/env bats
# Jobs over two hosts: network namespaces joined by a link that can be cut (tests/two_hosts.sh).

setup() {
    [ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
    command -v ip >/dev/null || skip "ip (iproute2) is not installed"
    command -v mpirun >/dev/null || skip "mpirun is not installed"
    mpirun --version 2>/dev/null | grep -q 'Open MPI' || skip "mpirun is not Open MPI's"
    [ -n "${MPIRUN-mpirun}" ] || skip "built without MPI"
    export LT_HOSTS="lt$$"
    tool=$(cd "$(dirname "$(command -v lt-train)")/../tests/comm" && pwd)/tool_watch_rank
    hosts=$(cd "$BATS_TEST_DIRNAME/.." && pwd)/two_hosts.sh
    cd "$BATS_TEST_TMPDIR" || exit 1
    sh "$hosts" up 2>up.err || { sh "$hosts" down; skip "no network namespaces: $(tail -n 1 up.err)"; }
}

teardown() {
    [ -z "${hosts:-}" ] || sh "$hosts" down
}

# until_true SECONDS COMMAND...
until_true() {
    local tries=$(($1 * 50))
    shift
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ] || { cat out err; return 1; }
        sleep 0.02
    done
}

start_job() { # COMMAND...: four ranks, two a host, in the background
    sh "$hosts" mpirun -n 4 "$@" >out 2>err 3>&- &
    job=$!
}

gone() { # a|b
    ! sh "$hosts" alive "$1"
}

# Waits for the job's failure and the end of every process on both hosts; $seconds is how long it took.
end_job() {
    local began=$SECONDS ended=0
    until_true 40 gone a
    echo "host a: $((SECONDS - began)) s"
    until_true 40 gone b
    seconds=$((SECONDS - began))
    echo "host b: $seconds s"
    wait $job || ended=$?
    cat out err
    [ "$ended" -ne 0 ]
}

start_tool() {
    start_job "$tool" --meet="$PWD/meet" --steps=100000 "$@"
    until_true 20 eval '[ "$(grep -c supervisor out)" -eq 4 ]'
}

@test "two hosts: four ranks meet, and end in good order" {
    run sh "$hosts" mpirun -n 4 "$tool" --meet="$PWD/meet" --steps=50
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c 'ended at step 50' <<<"$output")" -eq 4 ]
}

@test "two hosts: a rank killed on the other host is named with its host, all is gone in 10 s" {
    start_tool
    kill -9 "$(sed -n 's/^rank 3 pid \([0-9]*\) .*/\1/p' out)"
    end_job
    [ $seconds -lt 10 ]
    [ "$(grep -c 'error: ' err)" -eq 1 ]
    grep -q "error: rank 3 ($LT_HOSTS-b, pid [0-9]*) died: signal 9 (Killed); last step " err
}

# ---- lt-train

# Twenty steps of a tenth of a second on two idle cores: long enough to be cut.
write_config() {
    local data
    data=$(cd "$BATS_TEST_DIRNAME/../data/train" && pwd)
    cat >run.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 2, n_head: 2, n_embd: 32 }
training: { steps: 20, global_batch_size: 1600, lr: 1.0e-3, eval_every_steps: 0 }
data: { train: $data/train.manifest, val: $data/val.manifest }
checkpoint: { every_steps: 3, dir: ck }
logging: { every_steps: 5, tensorboard: false, dir: logs }
device: cpu
threads: 1
END
}

# equal_one_host: the losses in logs/ have the bits of four ranks on one host
equal_one_host() {
    local losses=$BATS_FILE_TMPDIR/losses
    if [ ! -e "$losses" ]; then
        OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout -k 5 120 \
            mpirun --oversubscribe --bind-to none -n 4 lt-train run.yaml --checkpoint.dir=one/ck \
            --logging.dir=one/logs --deepspeed.zero_optimization.stage=3
        hex_losses one/logs >"$losses"
    fi
    [ "$(wc -l <"$losses")" -eq 20 ]
    hex_losses logs | diff "$losses" -
}

hex_losses() { # FOLDER
    sed -n 's/^{"step":\([0-9]*\),.*"loss_hex":"\([^"]*\)".*/\1 \2/p' "$1/metrics.jsonl"
}

# errors_of RANKS: what those ranks said, as their own host has it
errors_of() {
    cat said/*/rank.[$1]/stderr | grep 'error: '
}

@test "two hosts: lt-train over two hosts has the losses of one host, bit for bit" {
    write_config
    run timeout -k 5 120 sh "$hosts" mpirun -n 4 lt-train run.yaml --deepspeed.zero_optimization.stage=2
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"4 ranks on 2 hosts, ZeRO stage 2"* ]]
    equal_one_host
}

@test "two hosts: a link that is cut before the ranks have met ends lt-train on both" {
    write_config
    start_job sh -c 'touch here.$OMPI_COMM_WORLD_RANK; until [ -e go ]; do sleep 0.05; done
        exec lt-train run.yaml --training.hang_timeout=0.5'
    until_true 20 eval '[ -e here.0 ] && [ -e here.1 ] && [ -e here.2 ] && [ -e here.3 ]'
    sh "$hosts" cut
    touch go
    end_job
    [ $seconds -lt 20 ]
    [ "$(grep -c 'error: ' err)" -eq 1 ]
    grep "error: rank 0 ($LT_HOSTS-a, pid [0-9]*) has waited [0-9]* s for the others to start: " err
    [ ! -e ck ]
}

@test "two hosts: a cut link ends lt-train on both in 30 s, each names what it misses, and it goes on after" {
    write_config
    stage=--deepspeed.zero_optimization.stage=3
    start_job --output-filename "$PWD/said" lt-train run.yaml $stage
    until_true 60 eval 'grep -qs "^{\"step\":4," logs/metrics.jsonl && [ -e ck/step-00000003 ]'
    sh "$hosts" cut
    end_job
    [ $seconds -lt 30 ]
    place='step [0-9]*, phase [a-z]*, collective [0-9]*'
    heard="not heard of for [0-9]* s; last heard at $place"
    [ "$(errors_of 01 | wc -l)" -eq 1 ]
    errors_of 01 | grep "lost contact with rank [23] ($LT_HOSTS-b, pid [0-9]*): $heard; rank 0 ($LT_HOSTS-a, pid [0-9]*) is at $place\$"
    [ "$(errors_of 23 | wc -l)" -eq 1 ]
    errors_of 23 | grep "lost contact with rank 0 ($LT_HOSTS-a, pid [0-9]*): $heard; rank 2 ($LT_HOSTS-b, pid [0-9]*) is at $place\$"
    [ "$(grep 'error: ' err)" = "$(errors_of 01)" ] # of host b's line mpirun cannot know
    sh "$hosts" mend
    run timeout -k 5 120 sh "$hosts" mpirun -n 4 lt-train run.yaml $stage --resume=auto
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"resuming from ck/step-"*": step "* ]]
    equal_one_host
}
