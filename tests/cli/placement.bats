#!/usr/bin/env bats
# Where the ranks of a host go: what lt-train says about it.

setup() {
    B=${B:-build/release}
    MPIRUN=${MPIRUN-mpirun}
    [ -n "$MPIRUN" ] || skip "built without MPI"
    command -v "$MPIRUN" >/dev/null || skip "no $MPIRUN on this machine"
    "$MPIRUN" --version | grep -q 'Open MPI' || skip "$MPIRUN is not Open MPI's"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    data="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/train"
    cd "$BATS_TEST_TMPDIR"
    cat >t.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 16, n_layer: 1, n_head: 1, n_embd: 8 }
training: { steps: 1, batch_size: 1, eval_every_steps: 0 }
data: { train: $data/train.manifest, val: $data/val.manifest }
device: cpu
END
}

cpus() { # of this shell, as the kernel lists them
    sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status
}

@test "placement: ranks that nobody has bound share the CPUs, and the first line says how" {
    [ "$(nproc)" -eq 2 ] && [ "$(cpus)" = 0-1 ] || skip "the expected text is that of 2 CPUs"
    run timeout 60 "$MPIRUN" --oversubscribe --bind-to none -n 2 lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" == *"$(hostname): rank 0: 1 thread on CPUs 0-1; rank 1: 1 thread on CPUs 0-1"* ]]
    [[ "$output" != *"mpirun has bound"* ]]
}

@test "placement: a binding of the launcher is kept, and named where it leaves CPUs idle" {
    [ "$(nproc)" -gt 2 ] || skip "needs more than 2 CPUs"
    run timeout 60 "$MPIRUN" --bind-to core -n 2 lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" == *"mpirun has bound each rank to one core"*"--bind-to none"* ]]
}

@test "placement: one process is told nothing" {
    run lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" != *"rank 0"* ]]
}
