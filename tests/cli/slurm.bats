#!/usr/bin/env bats
# A real SLURM on this machine, two nodes of it (tests/slurm/), and pipelines/slurm/train.sbatch.

RANKS=2 # of lt-train

setup_file() {
    [ "$(id -u)" -eq 0 ] || return 0
    PATH=$PATH:/usr/sbin
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null || return 0
    mkdir -p "$BATS_FILE_TMPDIR/slurm"
    sh "$BATS_TEST_DIRNAME/../slurm/start.sh" "$BATS_FILE_TMPDIR/slurm"
    export SLURM_CONF="$BATS_FILE_TMPDIR/slurm/slurm.conf"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
}

teardown_file() {
    [ ! -d "$BATS_FILE_TMPDIR/slurm" ] || sh "$BATS_TEST_DIRNAME/../slurm/stop.sh" "$BATS_FILE_TMPDIR/slurm"
}

setup() {
    [ -n "${SLURM_CONF:-}" ] || skip "needs root, slurm-wlm and munge"
    tool=$(cd "$(dirname "$(command -v lt-train)")/../tests/comm" && pwd)/tool_watch_rank
    sbatch=$(cd "$BATS_TEST_DIRNAME/../../pipelines/slurm" && pwd)/train.sbatch
    cd "$BATS_TEST_TMPDIR" || exit 1
}

need_mpirun() {
    command -v mpirun >/dev/null || skip "mpirun is not installed"
}

# until_true SECONDS COMMAND...
until_true() {
    local tries=$(($1 * 20))
    shift
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ] || { tail -n 50 ./*.log "$BATS_FILE_TMPDIR/slurm/slurmctld.log"; return 1; }
        sleep 0.05
    done
}

# has COUNT PATTERN FILE: that many lines at least
has() {
    [ "$(cat "$3" 2>/dev/null | grep -c -- "$2")" -ge "$1" ]
}

state_is() { # JOB STATE
    [[ "$(scontrol show job "$1")" == *"JobState=$2"* ]]
}

# SLURM starts a requeued job no sooner than two minutes later, unless it is told to.  Within the same
# second the node would refuse it, and the two nodes share /tmp, so the first start has to be gone.
hasten() { # JOB
    until_true 20 state_is "$1" PENDING
    scontrol update "JobId=$1" StartTime=now+3
}

tiny_config() { # STEPS
    local data
    data=$(cd "$BATS_TEST_DIRNAME/../data/train" && pwd)
    cat >run.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 1, n_head: 2, n_embd: 32 }
training: { steps: $1, batch_size: 2, lr: 1.0e-3, eval_every_steps: 0 }
data: { train: $data/train.manifest }
checkpoint: { every_steps: 0 }
logging: { every_steps: 1, tensorboard: false }
device: cpu
threads: 1
END
}

@test "slurm: sbatch runs a script, srun a task on each node" {
    printf '#!/bin/sh\nsrun sh -c "echo task \\$SLURM_PROCID on \\$SLURMD_NODENAME"\n' >job
    id=$(sbatch --parsable -N2 -n2 -o job.log job)
    until_true 20 state_is "$id" COMPLETED
    [ "$(sort job.log)" = "$(printf 'task 0 on n1\ntask 1 on n2')" ]
}

@test "slurm: mpirun inside sbatch, a rank on each node; a killed one is named, the job fails" {
    need_mpirun
    printf '#!/bin/sh\nexec mpirun --map-by node -n 2 "$@"\n' >job
    id=$(sbatch --parsable -N2 -n2 -o job.log job "$tool" --meet="$PWD/meet" --steps=50)
    until_true 20 state_is "$id" COMPLETED
    has 2 'ended at step 50' job.log
    rm meet
    id=$(sbatch --parsable -N2 -n2 -o job.log job "$tool" --meet="$PWD/meet" --who=1 --at=5 --misdeed=kill)
    until_true 20 state_is "$id" FAILED
    cat job.log
    grep -q 'error: rank 1 (.*) died: signal 9 (Killed); last step 5, phase backward' job.log
}

@test "slurm: srun --mpi=pmix and srun alone; a killed rank ends the step" {
    for mpi in pmix none; do
        rm -f meet
        run srun --mpi=$mpi -N1 -n2 "$tool" --meet="$PWD/meet" --steps=50
        echo "$output"
        [ "$status" -eq 0 ]
        rm meet
        run srun --mpi=$mpi -N1 -n2 "$tool" --meet="$PWD/meet" --who=1 --at=5 --misdeed=kill
        echo "$output"
        [ "$status" -ne 0 ]
        [ "$(grep -c 'error: rank 1 (.*) died: signal 9 (Killed); last step 5, phase backward' <<<"$output")" -eq 1 ]
    done
}

@test "slurm: USR1 to a job of train.sbatch saves on all ranks, requeues it, and it goes on" {
    need_mpirun
    for launcher in mpirun srun; do
        rm -f meet*
        job=$(LT_TRAIN="$tool" LT_LAUNCHER=$launcher sbatch --parsable -N1 -n2 -o "$launcher.log" \
            "$sbatch" --meet="$PWD/meet" --steps=100000)
        until_true 20 has 2 '^rank . pid' $launcher.log
        rm meet
        scancel --batch --signal=USR1 "$job"
        hasten "$job"
        until_true 20 has 4 '^rank . pid' $launcher.log
        cat $launcher.log
        has 1 'train.sbatch: saved; requeueing' $launcher.log
        has 1 "train.sbatch: job $job, start 2: 2 ranks on n" $launcher.log
        [ "$(sed -n 's/.*ended at step //p' $launcher.log | uniq | wc -l)" -eq 1 ]
        scancel "$job"
    done
}

@test "slurm: USR1 before the ranks have started requeues a job of train.sbatch" {
    mkdir stub
    printf '#!/bin/sh\ntouch %s/asked\nsleep 1\n' "$PWD" >stub/getent
    chmod +x stub/getent
    job=$(PATH=$PWD/stub:$PATH LT_TRAIN="$tool" sbatch --parsable -N2 -n2 -o early.log "$sbatch" --meet="$PWD/meet")
    until_true 20 test -e asked
    scancel --batch --signal=USR1 "$job"
    until_true 20 state_is "$job" PENDING
    scancel "$job"
    cat early.log
    has 1 'train.sbatch: saved; requeueing' early.log
    ! has 1 '^rank' early.log
}

@test "slurm: scancel of a job whose ranks save on SIGTERM ends it: no requeue" {
    job=$(LT_TRAIN="$tool" LT_LAUNCHER=srun sbatch --parsable -N1 -n2 -o gone.log "$sbatch" --meet="$PWD/meet" --steps=100000)
    until_true 20 has 2 '^rank . pid' gone.log
    scancel "$job"
    until_true 20 state_is "$job" CANCELLED
    cat gone.log
    has 1 'train.sbatch: saved, and cancelled' gone.log
    ! has 1 requeueing gone.log
}

@test "slurm: USR1 to srun's tasks reaches rank and supervisor, and counts once" {
    printf '#!/bin/sh\nsrun --mpi=none "$@"\necho status $?\n' >job
    id=$(sbatch --parsable -N1 -n2 -o job.log job "$tool" --meet="$PWD/meet" --steps=100000)
    until_true 20 has 2 '^rank . pid' job.log
    scancel --signal=USR1 "$id"
    until_true 20 has 1 '^status' job.log
    cat job.log
    has 1 '^status 75' job.log
    [ "$(sed -n 's/.*ended at step //p' job.log | uniq | wc -l)" -eq 1 ]
}

@test "slurm: a status other than 75 and too many restarts end the job" {
    job=$(LT_TRAIN="$tool" sbatch --parsable -o one.log "$sbatch" --meet="$PWD/meet" --early --misdeed=exit:65)
    until_true 20 state_is "$job" FAILED
    cat one.log
    has 1 'train.sbatch: status 65' one.log
    job=$(LT_MAX_RESTARTS=0 LT_TRAIN="$tool" sbatch --parsable -o two.log "$sbatch" --meet="$PWD/meet" --early --misdeed=exit:75)
    until_true 20 state_is "$job" FAILED
    cat two.log
    has 1 '0 restarts are enough' two.log
    run env -u SLURM_JOB_ID sh "$sbatch"
    [ "$status" -eq 2 ]
    [[ "$output" == "usage: sbatch "* ]]
}

@test "slurm: lt-train as a job, stopped by USR1, requeued, resumes at the saved step" {
    tiny_config 1000000
    job=$(sbatch --parsable -n $RANKS -o train.log "$sbatch" run.yaml)
    until_true 30 has 3 'step' logs/metrics.jsonl
    scancel --batch --signal=USR1 "$job"
    hasten "$job"
    until_true 30 has 1 'resuming from ' train.log
    cat train.log
    saved=$(sed -n 's,.*saved checkpoints/step-0*\([0-9]*\) in .*,\1,p' train.log | head -n 1)
    [ "$saved" -gt 0 ]
    grep -q "resuming from checkpoints/step-0*$saved: step $saved," train.log
    until_true 30 has 1 "^{\"step\":$((saved + 1))," logs/metrics.jsonl
    scancel "$job"
    until_true 20 state_is "$job" CANCELLED
}
