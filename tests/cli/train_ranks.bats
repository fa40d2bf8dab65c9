#!/usr/bin/env bats
# lt-train itself as several CPU ranks under mpirun: one voice, one verdict, one stop, one death.
# (What the watch does with ranks of every kind is watch.bats; kills inside saves are kill_save.bats.)

setup() {
    MPIRUN=${MPIRUN-mpirun}
    [ -n "$MPIRUN" ] || skip "built without MPI"
    command -v "$MPIRUN" >/dev/null || skip "no $MPIRUN on this machine"
    start=("$MPIRUN")
    if "$MPIRUN" --version | grep -q 'Open MPI'; then
        start+=(--oversubscribe)
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    start+=(--bind-to none -n)
    cd "$BATS_TEST_TMPDIR" || exit 1
    # This argument tells our processes from all others.
    mark=--checkpoint.dir=$BATS_TEST_TMPDIR/ck
    local data
    data=$(cd "$BATS_TEST_DIRNAME/../data/train" && pwd)
    cat >run.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 2, n_head: 2, n_embd: 32 }
training: { steps: 20, global_batch_size: 12, lr: 1.0e-3, eval_every_steps: 0 }
data: { train: $data/train.manifest, val: $data/val.manifest }
checkpoint: { every_steps: 10 }
logging: { every_steps: 5, tensorboard: false }
device: cpu
threads: 1
END
}

teardown() {
    local p
    for p in $(ours); do kill -9 "$p" 2>/dev/null || true; done
}

# ours [RANK]: our processes; those of one rank, supervisor first
ours() {
    local p
    for p in $(pgrep -f -- "^([^ ]*mpirun[^ ]*|lt-train) .*$mark( |\$)"); do
        [ $# -eq 0 ] || tr '\0' '\n' 2>/dev/null <"/proc/$p/environ" | grep -Eqx "(OMPI_COMM_WORLD|PMI)_RANK=$1" || continue
        echo "$p"
    done
}

# train RANKS OPTION...: the whole job; $status and $output, errors of lt-train in $errors
train() {
    local n=$1
    shift
    run timeout -k 5 60 "${start[@]}" "$n" lt-train run.yaml "$mark" "$@"
    errors=$(grep '^lt-train: .*error: ' <<<"$output" || true)
    echo "$output"
}

n_errors() {
    grep -c . <<<"$errors"
}

# until_true SECONDS COMMAND...
until_true() {
    local tries=$(($1 * 50))
    shift
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ] || { cat err; return 1; }
        sleep 0.02
    done
}

logged() { # STEPS: that many at least
    [ "$(wc -l 2>/dev/null <logs/metrics.jsonl)" -ge "$1" ] 2>/dev/null
}

nobody() {
    [ -z "$(ours)" ]
}

# A job that lasts until somebody stops it.
start_long() { # RANKS OPTION...
    local n=$1
    shift
    "${start[@]}" "$n" lt-train run.yaml "$mark" --training.steps=10000000 --checkpoint.every_steps=0 \
        --logging.every_steps=100000 "$@" >out 2>err 3>&- &
    job=$!
}

# end_of_job SECONDS: its status in $status, its errors in $errors, nobody left
end_of_job() {
    local began=$SECONDS
    until_true "$1" eval '! kill -0 $job 2>/dev/null'
    status=0
    wait "$job" || status=$?
    until_true 2 nobody
    cat err
    errors=$(grep '^lt-train: .*error: ' err || true)
    [ $((SECONDS - began)) -le "$1" ]
}

saved_step() {
    ls ck | sed -n 's/^step-0*\([0-9]*\)$/\1/p' | sort -n | tail -n 1
}

# ---- one voice

@test "train ranks: 1, 2 and 3 ranks have the same first loss, and only rank 0 talks" {
    for n in 1 2 3; do
        train $n --logging.dir=logs$n --checkpoint.dir=ck$n
        [ "$status" -eq 0 ]
        [ "$(grep -c ' steps of 12 sequences of 32 tokens' <<<"$output")" -eq 1 ]
        [ "$(grep -c 'step 20/20 ' <<<"$output")" -eq 1 ]
        [ "$(grep -c "saved ck$n/step-00000020" <<<"$output")" -eq 1 ]
        [ $n -eq 1 ] || [ "$(grep -c "$n ranks on 1 host, ZeRO stage 0" <<<"$output")" -eq 1 ]
        [ "$(grep -c '"step":' logs$n/metrics.jsonl)" -eq 20 ]
    done
    # the same numbers in another order of addition: a few bits at most
    jq -s '[.[] | select(.step == 1) | .loss] | (max - min) / max < 1e-6' logs?/metrics.jsonl | grep -qx true
    jq -s '[.[] | select(.step == 20) | .loss] | (max - min) / max < 1e-5' logs?/metrics.jsonl | grep -qx true
}

@test "train ranks: stages 0 to 3 on two ranks learn alike" {
    for stage in 0 1 2 3; do
        train 2 --deepspeed.zero_optimization.stage=$stage --logging.dir=logs$stage --checkpoint.dir=ck$stage
        [ "$status" -eq 0 ]
        [[ "$output" == *"2 ranks on 1 host, ZeRO stage $stage"* ]]
        sed -n 's/.*"loss_hex":"\([^"]*\)".*/\1/p' logs$stage/metrics.jsonl >$stage.losses
        cmp 0.losses $stage.losses
    done
}

@test "train ranks: what is wrong with the command is said once, with status 2, and nothing is written" {
    for wrong in "--training.stepz=3/unknown key: did you mean training.steps?" "--plann/unknown option --plann" \
        "--training.lr=-1/expected 0 to 1000, found -1" "--training.global_batch_size=7/is no multiple of 3 ranks"; do
        train 3 "${wrong%%/*}"
        [ "$status" -eq 2 ]
        [ "$(n_errors)" -eq 1 ]
        [[ "$errors" == *"${wrong#*/}"* ]]
    done
    [ ! -e ck ]
    [ ! -e logs ]
}

@test "train ranks: missing data is said once; what only one rank misses is said with its name" {
    train 3 --data.train=nowhere/train.manifest
    [ "$status" -eq 1 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"error: data.train: nowhere/train.manifest is not there; make it with: lt-tokenize "* ]]
    # a host where the configuration or the data is not
    for option in "gone.yaml" "run.yaml --data.train=gone/train.manifest"; do
        run timeout 60 "${start[@]}" 3 sh -c 'case $OMPI_COMM_WORLD_RANK$PMI_RANK in
            2) exec lt-train '"$option"' "$0" ;; *) exec lt-train run.yaml "$0" ;; esac' "$mark"
        echo "$output"
        [ "$status" -eq 1 ]
        [ "$(grep -c 'error: ' <<<"$output")" -eq 1 ]
        [[ "$output" == *"lt-train: error: rank 2 ("*"): "*"gone"* ]]
    done
    [ ! -e ck ]
    [ ! -e logs ]
}

@test "train ranks: a rank with another configuration is refused with its line; paths may differ" {
    for case in '--training.lr=1.0e-2 "lr: 0.001", found "lr: 0.01"' \
        '--deepspeed.zero_optimization.stage=3 "stage: 0", found "stage: 3"'; do
        run timeout 30 "${start[@]}" 2 sh -c 'case $OMPI_COMM_WORLD_RANK$PMI_RANK in
            1) exec lt-train run.yaml '"${case%% *}"' "$0" ;; *) exec lt-train run.yaml "$0" ;; esac' "$mark"
        echo "$output"
        [ "$status" -eq 2 ]
        [ "$(grep -c 'error: ' <<<"$output")" -eq 1 ]
        [[ "$output" == *"error: rank 1 ("*"line "*" of --print-config: expected ${case#* }"* ]]
        [ ! -e ck ]
    done
    data=$(sed -n 's/^data: { train: \(.*\)\/train.manifest,.*/\1/p' run.yaml)
    run timeout 30 "${start[@]}" 2 sh -c 'case $OMPI_COMM_WORLD_RANK$PMI_RANK in
        1) exec lt-train run.yaml --data.train="$1/val.manifest" "$0" ;;
        *) exec lt-train run.yaml "$0" ;; esac' "$mark" "$data"
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"error: rank 1 ("*"val.manifest is not rank 0's data set: expected "* ]]
    [ ! -e ck ]
    ln -s "$data" here
    run timeout 30 "${start[@]}" 2 sh -c 'case $OMPI_COMM_WORLD_RANK$PMI_RANK in
        1) exec lt-train run.yaml --data.train=here/train.manifest --threads=2 "$0" ;;
        *) exec lt-train run.yaml "$0" ;; esac' "$mark"
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "train ranks: --plan, --print-config and --dry-run speak once, whatever starts them" {
    for what in --plan --print-config --dry-run; do
        alone=
        [ $what != --plan ] || alone=--ranks=2 # planned for as many as were started
        run lt-train run.yaml "$mark" $what $alone
        one=$output
        train 2 $what
        [ "$status" -eq 0 ]
        [ "$output" = "$one" ]
    done
    run lt-train run.yaml --plan --ranks=3 --deepspeed.zero_optimization.stage=2 --json
    [ "$status" -eq 0 ]
    jq -e '.ranks == 3 and .gradients < .parameters and .moment1 < .parameters' <<<"$output"
}

@test "train ranks: --help and its like, and usage errors of generate, are said once" {
    for what in --help --man --version --config-docs "generate --help" "generate --version"; do
        one=$(lt-train $what)
        run timeout 60 "${start[@]}" 3 lt-train $what
        [ "$status" -eq 0 ]
        [ "$output" = "$one" ]
    done
    run timeout 60 "${start[@]}" 3 lt-train generate --modell=x
    [ "$status" -eq 2 ]
    [ "$(grep -c 'error: ' <<<"$output")" -eq 1 ]
    [[ "$output" == *"lt-train: error: unknown option --modell; did you mean --model?"* ]]
    # the others keep quiet and have the same status
    for rank in 1 2; do
        run env OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=3 lt-train generate --modell=x
        [ "$status" -eq 2 ]
        [ -z "$output" ]
    done
}

@test "train ranks: ranks of srun alone are refused with the command that works, once" {
    export SLURM_JOB_ID=$((RANDOM + 1)) SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NODELIST=127.0.0.1
    run timeout 60 bash -c 'SLURM_PROCID=0 lt-train run.yaml "$0" & SLURM_PROCID=1 lt-train run.yaml "$0"; s=$?; wait $! || exit $?; exit $s' "$mark"
    echo "$output"
    [ "$status" -eq 2 ]
    [ "$(grep -c . <<<"$output")" -le 2 ] # where the ranks are, and the error once
    [ "$(grep error: <<<"$output")" = "lt-train: error: 2 CPU ranks started by srun alone: CPU ranks need MPI; use srun --mpi=pmix, or mpirun inside sbatch" ]
}

@test "train ranks: standard files that are closed do not become files of the run" {
    run "${start[@]}" 2 sh -c 'exec lt-train run.yaml "$0" 2>&-' "$mark"
    [ "$status" -eq 0 ]
    run bash -c 'lt-train run.yaml "$0" --checkpoint.dir=one/ck --logging.dir=one/logs 2>&-' "$mark"
    [ "$status" -eq 0 ]
    [ -z "$(grep -rl 'lt-train: ' ck logs one)" ]
    run bash -c 'lt-train run.yaml --print-config >&-'
    [ "$status" -eq 1 ]
    [ "$output" = "lt-train: error: standard output: Bad file descriptor" ]
}

@test "train ranks: training that diverges ends on all ranks with one sentence, and what was saved is kept" {
    train 2 --training.lr=1000 --training.gradient_clipping=0 --training.warmup_steps=0 --training.steps=200
    [ "$status" -eq 1 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"20 steps in a row had gradients that are not finite; training has diverged"* ]]
    lt-ckpt-merge --verify ck
}

# ---- checkpoints

@test "train ranks: a second job on the directories is refused, and the holder named" {
    start_long 2
    until_true 20 logged 1
    for n in 1 2; do
        train $n --logging.dir=other
        [ "$status" -eq 1 ]
        [ "$(n_errors)" -eq 1 ]
        [[ "$errors" == *"another job writes checkpoints here: host "*", pid $(ours 0 | tail -n 1), since "* ]]
    done
    [ ! -e other ]
    train 1 --checkpoint.dir=other # to mix its lines with ours
    [ "$status" -eq 1 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"logs: another job writes metrics.jsonl here: host "*", pid $(ours 0 | tail -n 1), since "* ]]
    [ "$(ls other)" = lock ]
}

@test "train ranks: no room for one rank's part of a checkpoint: training goes on, the old one stays" {
    train 2
    [ "$status" -eq 0 ]
    before=$(cat ck/step-00000020/* | cksum)
    rm -r logs
    start_long 2 --checkpoint.every_steps=500
    until_true 20 logged 5
    prlimit --pid "$(ours 1 | tail -n 1)" --fsize=16384
    until_true 20 grep -q 'no checkpoint' err
    kill -USR1 "$(ours 1 | tail -n 1)"
    end_of_job 10
    [ "$status" -eq 1 ]
    # in passing, each step once, and at the end the end of the run
    refused='rank 1 (.*/ck/step-.*\.tmp\..*: File too large'
    [ -z "$(grep -v "error: step [0-9]*: no checkpoint: $refused; training goes on\$\|error: $refused\$" <<<"$errors")" ]
    [ -z "$(grep 'training goes on$' <<<"$errors" | sort | uniq -d)" ]
    [ "$(grep -c "error: $refused\$" <<<"$errors")" -eq 1 ]
    [ "$(cat ck/step-00000020/* | cksum)" = "$before" ]
    ! ls ck | grep tmp
}

@test "train ranks: a rank that fails alone after a checkpoint in passing has failed ends the job" {
    start_long 2 --checkpoint.every_steps=1000 --checkpoint.async=false
    until_true 20 logged 5
    prlimit --pid "$(ours 1 | tail -n 1)" --fsize=16384
    until_true 20 grep -q 'no checkpoint' err
    prlimit --pid "$(ours 0 | tail -n 1)" --fsize=16384 # of metrics.jsonl
    end_of_job 10
    [ "$status" -eq 1 ]
    errors=$(grep -v 'no checkpoint' <<<"$errors")
    [ "$(n_errors)" -eq 2 ]
    [[ "$errors" == *"logs/metrics.jsonl: "*": File too large"* ]]
    [[ "$errors" == *"error: rank 0 ("*") ended with status 1; last step "* ]]
}

# ---- stop and go on

@test "train ranks: what offloading takes of a host is refused for all its ranks, before any takes it" {
    wide=(--model.n_embd=1280 --deepspeed.zero_optimization.offload_optimizer.device=cpu)
    host() { # LAYERS: bytes of one rank
        lt-train run.yaml "$mark" "${wide[@]}" --model.n_layer=$1 --plan --ranks=2 --json | jq .host
    }
    there=$(awk '/^MemAvailable/ { printf "%d000", $2 }' /proc/meminfo)
    layers=$((there * 6 / 10 / ($(host 2) - $(host 1)))) # room for one of the two
    train 2 "${wide[@]}" --model.n_layer=$layers
    [ "$status" -eq 1 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"error: 2 ranks on "*": offloading takes $(host $layers) bytes of host memory for each, "*" are available together" ]]
}

@test "train ranks: SIGUSR1 to one rank, or SIGTERM to all, saves on all and mpirun ends with 75" {
    last=0
    for case in USR1/2/1 USR1/3/0 TERM/2/all; do
        IFS=/ read -r signal n rank <<<"$case"
        rm -rf logs
        start_long "$n"
        until_true 20 logged 5
        [ $last -eq 0 ] || grep -q "resuming from .*/ck/step-0*$last: step $last, " err
        if [ "$rank" = all ]; then
            kill -$signal $(ours 0 | head -n 1) $(ours 1 | head -n 1)
        else
            kill -$signal "$(ours "$rank" | tail -n 1)"
        fi
        end_of_job 10
        [ "$status" -eq 75 ]
        [ "$(n_errors)" -eq 1 ]
        last=$(saved_step)
        [[ "$errors" == *"stopped "*"after step $last; run the same command to go on" ]]
        [ "$(tail -n 1 logs/metrics.jsonl | jq .step)" -eq "$last" ]
        [ "$(ls ck/step-*"$last" | grep -c '^weights-')" -eq "$n" ]
        lt-ckpt-merge --verify ck
    done
    train 1 --training.steps=$((last + 1)) --logging.dir=alone
    [ "$status" -eq 0 ]
    [[ "$output" == *"step $last, "*"saved "*"/step-"*"$((last + 1)) in "* ]]
}

catches_usr1() { # PID
    [ $((0x$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null || echo 0) & 0x200)) -ne 0 ]
}

@test "train ranks: SIGUSR1 to a rank that waits for the others to start ends the run after its first step" {
    "${start[@]}" 2 sh -c 'case $OMPI_COMM_WORLD_RANK$PMI_RANK in 0) until [ -e go ]; do sleep 0.05; done ;; esac
        exec lt-train run.yaml "$@"' sh "$mark" --training.steps=10000000 >out 2>err 3>&- &
    job=$!
    until_true 20 eval '[ "$(ours 1 | wc -l)" -eq 2 ] && catches_usr1 "$(ours 1 | tail -n 1)"'
    kill -USR1 "$(ours 1 | tail -n 1)"
    touch go
    end_of_job 10
    [ "$status" -eq 75 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"after step 1; run the same command to go on" ]]
    [ "$(saved_step)" -eq 1 ]
}

@test "train ranks: training.max_wallclock saves and asks for a restart" {
    start_long 2 --training.max_wallclock=2
    end_of_job 20
    [ "$status" -eq 75 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"error: stopped after step $(saved_step); run the same command to go on" ]]
}

# ---- death

# killed RANK: after kill -9 of it, one line in time and nobody left
killed() {
    local pid
    pid=$(ours "$1" | tail -n 1)
    kill -9 "$pid"
    end_of_job 9
    [ "$status" -ne 0 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" =~ "error: rank $1 ("[^\ ]+", pid $pid) died: signal 9 (Killed); last step "[0-9]+", phase "[a-z]+ ]]
}

@test "train ranks: kill -9 in training names rank, host, pid, signal, step and phase; nobody is left" {
    for rank in 0 2; do
        rm -rf logs
        start_long 3
        until_true 20 logged 20
        killed $rank
        [[ ! "$errors" =~ "last step 0," ]]
    done
}

@test "train ranks: kill -9 while a checkpoint is written leaves one that is whole" {
    train 2
    for rank in 1 0; do
        rm -rf logs
        start_long 2 --checkpoint.every_steps=2
        until_true 20 logged 1
        until_true 20 eval 'ls ck | grep -q tmp'
        killed $rank
        lt-ckpt-merge --verify ck
    done
    train 2 --training.steps=$(($(saved_step) + 2)) --logging.dir=again
    [ "$status" -eq 0 ]
    ! ls ck | grep tmp
}

@test "train ranks: kill -9 at any moment of the start" {
    train 2
    for wait in 0 0.1 0.2 0.4; do
        start_long 2
        until_true 20 eval '[ "$(ours 1 | wc -l)" -eq 2 ]'
        sleep $wait
        killed 1
    done
    lt-ckpt-merge --verify ck
}

@test "train ranks: a stopped rank is named after training.hang_timeout, and the job is ended" {
    start_long 2 --training.hang_timeout=2
    until_true 20 logged 20
    pid=$(ours 1 | tail -n 1)
    kill -STOP "$pid"
    end_of_job 15
    [ "$status" -eq 1 ]
    [ "$(n_errors)" -eq 1 ]
    [[ "$errors" == *"error: rank 1 ("*", pid $pid) hangs: no rank has moved for "*", stopped by a signal; rank 0 is at step "* ]]
}
