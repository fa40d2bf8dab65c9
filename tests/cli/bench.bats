#!/usr/bin/env bats
# lt-bench: reference models, whole steps, and the fields that other programs read.

bats_require_minimum_version 1.5.0

setup() {
    golden="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/golden/gpt2"
    cd "$BATS_TEST_TMPDIR"
}

train_row() {
    lt-bench train --model=gpt2 --layers=1 --batch=1 --seq=16 --steps=1 --gemm-size=128 "$@"
}

@test "bench: --help, --man, --version and what is no subcommand" {
    lt-bench --help | grep -q golden
    lt-bench --man | grep -q '^.TH "LT-BENCH" 1'
    [ "$(lt-bench --version)" = "lt-bench 0.1.0" ]
    for c in golden train; do
        lt-bench $c --help | grep -q "usage: lt-bench $c"
    done
    run lt-bench
    [ "$status" -eq 2 ]
    [[ "$output" == *"expected a subcommand ("*"golden"*", found nothing"* ]]
    run lt-bench polish
    [ "$status" -eq 2 ]
    [[ "$output" == *'found "polish"'* ]]
}

@test "bench golden: logits, loss, gradients, ten AdamW steps in fp32, whatever is recomputed" {
    for k in none selective block; do
        run lt-bench golden "$golden" --recompute=$k
        echo "$output"
        [ "$status" -eq 0 ]
        [[ "$output" == *"recompute $k"* ]]
        within=$(grep -o '[0-9]* of [0-9]* within bounds' <<<"$output")
        [ "${within%% *}" -gt 60 ]
        [ "${within%% *}" = "$(cut -d' ' -f3 <<<"$within")" ]
    done
}

@test "bench golden: bf16 within its own bound, and not within fp32's" {
    run lt-bench golden "$golden" --precision=bf16
    echo "$output"
    [ "$status" -eq 0 ]
    run lt-bench golden "$golden" --precision=bf16 --bound=1e-5
    [ "$status" -eq 1 ]
}

@test "bench golden: --json is one object a folder; over a bound is status 1" {
    lt-bench golden --json "$golden" | jq -es 'length == 1 and .[0].over == 0 and .[0].tensors > 60 and .[0].worst_error <= .[0].worst_bound and .[0].precision == "fp32"'
    run --separate-stderr lt-bench golden --json --bound=1e-9 "$golden"
    [ "$status" -eq 1 ]
    jq -e '.over > 10 and .worst_error > .worst_bound' <<<"$output"
    [[ "$stderr" == *"golden: "*" values over their bound"* ]]
    [ "$(lt-bench golden -a "$golden" | grep -c '^  \(grad\|final\)\.transformer')" -eq 80 ]
}

@test "bench golden: a weight that is off by a little is found" {
    cp -r "$golden" wrong
    python3 - <<'END'
import json, struct
b = bytearray(open("wrong/model.safetensors", "rb").read())
n = struct.unpack("<Q", b[:8])[0]
head = json.loads(b[8:8 + n])
at = 8 + n + next(v for k, v in head.items() if k.endswith("h.1.mlp.c_fc.weight"))["data_offsets"][0]
x = struct.unpack("<f", b[at:at + 4])[0]
b[at:at + 4] = struct.pack("<f", x + 0.05)
open("wrong/model.safetensors", "wb").write(b)
END
    run lt-bench golden wrong
    [ "$status" -eq 1 ]
    [[ "$output" == *OVER* ]]
}

@test "bench golden: usage errors and missing files" {
    run lt-bench golden
    [ "$status" -eq 2 ]
    [[ "$output" == *"golden: no folder given"* ]]
    run lt-bench golden "$golden" --precision=fp8
    [ "$status" -eq 2 ]
    run lt-bench golden "$golden" --recompute=all
    [ "$status" -eq 2 ]
    [[ "$output" == *'--recompute: expected none, selective or block, found "all"'* ]]
    run lt-bench golden nowhere
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere/config.json: No such file or directory"* ]]
    mkdir empty
    cp "$golden/config.json" empty
    run lt-bench golden empty
    [ "$status" -eq 1 ]
    [[ "$output" == *"empty/golden.safetensors: No such file or directory"* ]]
}

@test "bench train: --json has the fields that other programs read" {
    train_row --json | jq -e '
        .tokens_per_s > 0 and .ms_per_step > 0 and .flops_per_s > 0 and .gemm_peak_flops_per_s > 0 and .peak_bytes > 1e6
        and .batch == 1 and .seq == 16 and .accumulation == 1 and .precision == "fp32" and (.device | length) > 0
        and ((.tokens_per_s * .ms_per_step / 1000 - 16) | fabs) < 0.01
        and .mean_ms_per_step >= .ms_per_step * 0.999
        and ([.ms_by_class[]] | add) > 0'
}

@test "bench train: a table for people, in both precisions, with accumulation" {
    run train_row --precision=bf16 --accumulation=2 --recompute=block
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "gpt2  bf16  B=1 T=16 accumulation 2  recompute block" ]]
    [[ "$output" == *"tokens/s"*"% of the GEMM peak of "*"MiB on the device"* ]]
}

@test "bench train: usage errors" {
    run lt-bench train --model=gpt5
    [ "$status" -eq 2 ]
    [[ "$output" == *'--model: expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found "gpt5"'* ]]
    run lt-bench train --precision=fp8
    [ "$status" -eq 2 ]
    run lt-bench train --recompute=some
    [ "$status" -eq 2 ]
    run lt-bench train --batch=0
    [ "$status" -eq 2 ]
    run lt-bench train 5
    [ "$status" -eq 2 ]
    run lt-bench train --seq=2048 --layers=1
    [ "$status" -eq 2 ]
    [[ "$output" == *"sequences of 2048 tokens: the model has 1024 positions"* ]]
}
