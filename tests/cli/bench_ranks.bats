#!/usr/bin/env bats
# lt-bench on many ranks: train and comm under mpirun; dataparallel and scale, which start it.

bats_require_minimum_version 1.5.0

setup() {
    MPIRUN=${MPIRUN-mpirun}
    options=
    if [ -n "$MPIRUN" ] && command -v "$MPIRUN" >/dev/null && "$MPIRUN" --version | grep -q 'Open MPI'; then
        options=--oversubscribe
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    tiny="--layers=1 --seq=16 --steps=1 --threads=1 --device=cpu"
    cd "$BATS_TEST_TMPDIR"
}

need_mpi() {
    [ -n "$MPIRUN" ] || skip "built without MPI"
    command -v "$MPIRUN" >/dev/null || skip "no $MPIRUN on this machine"
}

@test "bench train: tokens of two ranks, one object" {
    need_mpi
    "$MPIRUN" $options -n 2 lt-bench train $tiny --batch=1 --gemm-size=64 --stage=2 --json >out.json
    jq -es 'length == 1 and (.[0] |
        .ranks == 2 and .stage == 2 and .batch == 1 and .loss > 0
        and ((.tokens_per_s * .ms_per_step / 1000 - 32) | fabs) < 0.01
        and ([.bytes_by_class[]] | add) == .peak_bytes
        and .bytes_by_class.buckets > 0)' out.json
}

@test "bench train: a mistake of all ranks is said once" {
    need_mpi
    run "$MPIRUN" $options -n 2 lt-bench train --model=gpt5
    [ "$status" -eq 2 ]
    [ "$(grep -c 'expected gpt2, gpt2-medium' <<<"$output")" -eq 1 ]
}

@test "bench: --help and its like, and usage errors, are said once" {
    need_mpi
    for what in --help --version --man "comm --help" "gemm --version"; do
        one=$(lt-bench $what)
        run "$MPIRUN" $options -n 3 lt-bench $what
        [ "$status" -eq 0 ]
        [ "$output" = "$one" ]
    done
    for wrong in nonsense "gemm --nonsense" "comm --only=gather"; do
        run "$MPIRUN" $options -n 3 lt-bench $wrong
        [ "$status" -eq 2 ]
        [ "$(grep -c 'lt-bench: .*error: ' <<<"$output")" -eq 1 ]
        run env OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3 lt-bench $wrong
        [ "$status" -eq 2 ]
        [ -z "$output" ]
    done
}

@test "bench comm: every collective, none wrong; a table" {
    need_mpi
    for n in 1 2 3; do
        "$MPIRUN" $options -n $n lt-bench comm --device=cpu --max=16KiB --seconds=0.001 --json >out.json
        jq -e --argjson n $n '.ranks == $n and .library == (if $n == 1 then "self" else "mpi" end)
            and (.rows | length) == 16 and ([.rows[].wrong] | add) == 0
            and ([.rows[].collective] | unique) == ["all_gather", "all_reduce", "broadcast", "reduce_scatter"]
            and ([.rows[].type] | unique) == ["bf16", "fp32"]
            and ([.rows[] | .busbw_bytes_per_s / .algbw_bytes_per_s - ({broadcast: 1, all_reduce: (2 * ($n - 1) / $n)}[.collective] // (($n - 1) / $n))
                  | fabs] | max) < 1e-4
            and ([.rows[] | .algbw_bytes_per_s * .seconds / .bytes - 1 | fabs] | max) < 1e-4' out.json
    done
    run "$MPIRUN" $options -n 2 lt-bench comm --device=cpu --max=4KiB --seconds=0 --only=broadcast --precision=fp16
    [ "$status" -eq 0 ]
    [[ "$output" == *"2 ranks on 1 host, mpi"*"busbw GB/s"*"broadcast        fp16          4096"* ]]
}

@test "bench comm: usage errors" {
    for o in --only=gather --precision=fp8 --max=1KiB --factor=1 extra; do
        run lt-bench comm --device=cpu "$o"
        [ "$status" -eq 2 ]
    done
    run lt-bench comm --only=gather
    [[ "$output" == *'--only: expected all_gather, reduce_scatter, all_reduce or broadcast, found "gather"'* ]]
}

@test "bench dataparallel: the baseline and ZeRO train alike; ratios, a chart" {
    need_mpi
    lt-bench dataparallel $tiny --batch=1 --gpus=2 --rows=dataparallel,stage0,stage3 --epoch-samples=1000 \
        --mpirun="$MPIRUN $options" --chart=chart.svg --json >out.json
    jq -e '.gpus == 2 and .seq == 16 and [.rows[].row] == ["dataparallel", "stage0", "stage3"]
        and ([.rows[] | .loss] | (max - min) / min) < 1e-5
        and .rows[0].over_dataparallel == 1 and ([.rows[].over_torch_dp] | all(. == null))
        and ([.rows[] | .samples_per_s * .ms_per_step / 2000 - 1 | fabs] | max) < 1e-4
        and ([.rows[] | .samples_per_s * .epoch_s / 1000 - 1 | fabs] | max) < 1e-4
        and ([.rows[].max_bytes] | min) > 1e6' out.json
    python3 -c 'import xml.dom.minidom as m; d = m.parse("chart.svg"); assert len(d.getElementsByTagName("rect")) == 4'
    grep -q '>stage3<' chart.svg
}

@test "bench dataparallel: three devices of our own DataParallel, bf16, a table" {
    run --separate-stderr lt-bench dataparallel $tiny --batch=2,1 --gpus=3 --rows=dataparallel --precision=bf16
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "gpt2  bf16  T=16  3 x cpu, 1 threads"* ]]
    [ "$(grep -c '^ *[12] dataparallel .* 1.00x' <<<"$output")" -eq 2 ]
}

@test "bench dataparallel: a baseline that finds no memory, at whichever buffer, is a row that failed" {
    export OPENBLAS_NUM_THREADS=1
    for mib in 450 500 550 600 650 700; do
        run bash -c "ulimit -v $((mib * 1024)); lt-bench dataparallel --rows=dataparallel --precision=bf16 \
            --layers=1 --seq=8 --batch=1 --gpus=1 --steps=1 --device=cpu --threads=1"
        echo "$mib MiB: $status, $output"
        [ "$status" -eq 1 ]
        [[ "$output" == *"error: dataparallel, batch 1: "*"no memory for "* ]]
    done
}

@test "bench dataparallel: PyTorch's rows, where it is there" {
    python=${PYTHON:-python3}
    peer="$BATS_TEST_DIRNAME/../peers/gpt2_torch.py"
    if "$python" -c 'import numpy, torch' 2>/dev/null; then
        lt-bench dataparallel $tiny --batch=1 --rows=torch-ddp --python="$python" --peer="$peer" --json |
            jq -e '.rows[0].samples_per_s > 0 and .rows[0].max_bytes > 1e6'
    fi
    run lt-bench dataparallel $tiny --batch=1 --rows=torch-ddp --python=no-python --peer="$peer"
    [ "$status" -eq 1 ]
    [[ "$output" == *'torch-ddp, batch 1: cannot start "no-python": No such file or directory'* ]]
}

@test "bench dataparallel: what PyTorch's rows cannot do is refused, or leaves them out by a sentence" {
    while read -r o what; do
        run lt-bench dataparallel $tiny --batch=1 --rows=torch-ddp $o </dev/null
        [ "$status" -eq 2 ]
        [[ "$output" == *"--rows: torch-ddp: PyTorch's rows know no $what"* ]]
        run --separate-stderr lt-bench dataparallel $tiny --batch=1 --gpus=1 $o --json </dev/null
        [ "$status" -eq 0 ]
        [[ "$stderr" == *"PyTorch's rows know no $what: left out"* ]]
        jq -e '[.rows[].row] == ["dataparallel", "stage0", "stage1", "stage2", "stage3"]' <<<"$output"
    done <<<$'--precision=fp16 fp16\n--recompute=block recomputation'
}

@test "bench dataparallel, scale: without mpirun, a sentence; what can be measured is" {
    run --separate-stderr lt-bench scale $tiny --batch=1 --gpus=1,2 --stages=0 --mpirun=no-mpirun --json
    [ "$status" -eq 1 ]
    jq -e '.rows[0].efficiency == 1 and .rows[0].tokens_per_s > 0 and .rows[1].tokens_per_s == null' <<<"$output"
    [[ "$stderr" == *'stage 0 on 2: --mpirun: cannot start "no-mpirun": No such file or directory'* ]]
    [[ "$stderr" == *"scale: 1 of 2 runs failed"* ]]
    run lt-bench dataparallel $tiny --batch=1 --rows=stage1 --mpirun=false
    [ "$status" -eq 1 ]
    [[ "$output" == *"stage1, batch 1: false ended with status 1"*"1 of 1 rows failed"* ]]
    run --separate-stderr lt-bench dataparallel $tiny --batch=1 --rows=stage1 --mpirun=false --json --chart=failed.svg
    [ "$status" -eq 1 ]
    grep -q '>failed<' failed.svg
    jq -e '.rows[0].max_bytes == null and .rows[0].samples_per_s == null' <<<"$output"
    run lt-bench dataparallel $tiny --batch=1 --rows=stage1 --mpirun=echo
    [ "$status" -eq 1 ]
    [[ "$output" == *"echo: expected a line of JSON, found none"* ]]
}

@test "bench scale: efficiency against the first count" {
    need_mpi
    lt-bench scale $tiny --batch=1 --gpus=1,2 --stages=1 --mpirun="$MPIRUN $options" --json >out.json
    jq -e '[.rows[] | [.stage, .gpus]] == [[1, 1], [1, 2]] and .rows[0].efficiency == 1
        and (.rows[1].efficiency - .rows[1].tokens_per_s / 2 / .rows[0].tokens_per_s | fabs) < 1e-3' out.json
}

@test "bench dataparallel, scale: usage errors" {
    for c in dataparallel scale; do
        for o in --model=gpt5 --precision=fp8 --recompute=some --device=tpu --seq=0 --gpus=0 extra; do
            run lt-bench $c "$o"
            [ "$status" -eq 2 ]
        done
        run env OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 lt-bench $c
        [ "$status" -eq 2 ]
        [[ "$output" == *"$c starts its ranks itself: expected one process, found 2"* ]]
    done
    run lt-bench dataparallel --batch=8,x
    [ "$status" -eq 2 ]
    [[ "$output" == *'--batch: expected up to 8 numbers of 1 to 65536 with commas between, found "8,x"'* ]]
    run lt-bench dataparallel --rows=stage4
    [ "$status" -eq 2 ]
    [[ "$output" == *'--rows: expected dataparallel, stage0'*'found "stage4"'* ]]
    for rows in "" stage0, ,stage0 stage0,,stage1; do
        run lt-bench dataparallel --rows="$rows"
        [ "$status" -eq 2 ]
    done
    run lt-bench scale --stages=0,4
    [ "$status" -eq 2 ]
}
