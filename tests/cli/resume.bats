#!/usr/bin/env bats
# A run goes on where it was stopped: pulled plugs (the whole test is tests/kill_resume.sh, here with
# few kills), and a start on other ranks at another stage.

setup() {
    data=$(cd "$BATS_TEST_DIRNAME/../data/train" && pwd)
    MPIRUN=${MPIRUN-mpirun}
}

needs_mpi() {
    [ -n "$MPIRUN" ] || skip "built without MPI"
    command -v "$MPIRUN" >/dev/null || skip "no $MPIRUN on this machine"
    options=
    if "$MPIRUN" --version | grep -q 'Open MPI'; then
        options=--oversubscribe
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
}

@test "resume: killed again and again, a run ends with the bytes of an undisturbed one" {
    run sh "$BATS_TEST_DIRNAME/../kill_resume.sh" 12
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"12 kills, "*" inside a save, 280 steps: identical"* ]]
}

@test "resume: two ranks, killed alone or together, end with the bytes of two that nobody disturbed" {
    needs_mpi
    run env RANKS=2 sh "$BATS_TEST_DIRNAME/../kill_resume.sh" 6
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"6 kills on 2 ranks, "*" of one rank alone, "*" inside a save, 400 steps: identical"* ]]
}

# train RANKS STEPS STAGE: the same 12 sequences a step however they are spread
train() {
    cat >run.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 2, n_head: 4, n_embd: 48 }
training: { global_batch_size: 12, gradient_accumulation_steps: 2, steps: 9, lr: 1.0e-3,
            lr_schedule: constant, warmup_steps: 0, eval_every_steps: 0 }
data: { train: $data/train.manifest }
checkpoint: { every_steps: 3, keep_last: 9 }
END
    launch=
    [ "$1" -eq 1 ] || launch="$MPIRUN $options -n $1"
    $launch lt-train run.yaml --training.steps="$2" --deepspeed.zero_optimization.stage="$3" --device=cpu \
        --threads=1 </dev/null 2>&1
}

losses() {
    sed -n 's/^{"step":\([0-9]*\),.*"loss":\([^,]*\),.*/\1 \2/p' logs/metrics.jsonl
}

@test "resume: other ranks and another stage go on from any checkpoint" {
    needs_mpi
    mkdir "$BATS_TEST_TMPDIR/run" && cd "$BATS_TEST_TMPDIR/run"
    train 1 9 0
    losses >alone
    [ "$(grep -c . alone)" -eq 9 ]
    rm -r checkpoints logs
    train 2 3 2
    [ "$(grep -aoh '"run_id":"[0-9a-f]*"' checkpoints/*/*.safetensors | sort -u | grep -c .)" -eq 1 ]
    run train 3 6 3
    [ "$status" -eq 0 ]
    [[ "$output" == *"resuming from "*"/step-00000003: step 3, 36 samples"* ]]
    run train 1 9 1
    [ "$status" -eq 0 ]
    [[ "$output" == *"resuming from "*"/step-00000006: step 6, 72 samples"* ]]
    losses >spread
    paste -d' ' alone spread
    paste -d' ' alone spread | awk '{ d = $4 / $2 - 1; if ($1 != $3 || d > 1e-6 || d < -1e-6) exit 1; n++ } END { exit n != 9 }'
}

@test "resume: a folder that vanishes under a save costs that checkpoint, not the run" {
    strace -qq -o /dev/null true 2>/dev/null || skip "strace is missing or may not trace here"
    cd "$BATS_TEST_TMPDIR"
    cat >run.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 1, n_head: 2, n_embd: 16 }
training: { steps: 8, batch_size: 2, gradient_accumulation_steps: 1, lr: 1.0e-3, warmup_steps: 2 }
data: { train: $data/train.manifest, val: $data/val.manifest }
checkpoint: { dir: ck, every_steps: 5 }
END
    run strace -f -qq -o /dev/null -e trace=rename -e inject=rename:error=ENOENT lt-train run.yaml
    [ "$status" -eq 1 ] # the last one failed, too
    [[ "$output" == *"step 5: no checkpoint: "*"No such file or directory; training goes on"* ]]
    [[ "$output" == *"error: ck/step-00000008.tmp."*"No such file or directory" ]]
}
