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
    for c in golden train gemm attention ops comm dataparallel scale load tokenize init batches; do
        lt-bench $c --help | grep -q "usage: lt-bench $c"
        lt-bench --help | grep -q "^$c "
        lt-bench $c --man | grep -q "^.TH \"LT-BENCH-$(tr a-z A-Z <<<$c)\" 1"
        run lt-bench $c --polish=1
        [ "$status" -eq 2 ]
        [[ "$output" == *"--polish"* ]]
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

@test "bench golden: a label that the vocabulary does not have is refused" {
    cp -r "$golden" wrong
    python3 - <<'END'
import json, struct
b = bytearray(open("wrong/golden.safetensors", "rb").read())
n = struct.unpack("<Q", b[:8])[0]
head = json.loads(b[8:8 + n])["labels"]
at = 8 + n + head["data_offsets"][0]
size = {"I64": 8, "I32": 4}[head["dtype"]]
b[at + size:at + 2 * size] = (10 ** 9).to_bytes(size, "little")
open("wrong/golden.safetensors", "wb").write(b)
END
    run lt-bench golden wrong
    [ "$status" -eq 1 ]
    [[ "$output" == *"labels[1]: id 1e+09, the vocabulary has "* ]]
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
        and ([.ms_by_class[]] | add) > 0
        and (.ms_by_class | keys) == (.floor_ms_by_class | keys) and ([.floor_ms_by_class[]] | add) > 0
        and ([.bytes_by_class[]] | add) == .peak_bytes
        and ((.flops_per_token * .tokens_per_s / .flops_per_s - 1) | fabs) < 1e-4
        and .mfu == null and .copy_bytes_per_s > 0'
}

@test "bench train: FLOPs of a token are 6 a matrix weight and 6 L T H D" {
    # one layer of GPT-2: 12 C^2 and the tied table of 50304 rows
    train_row --json | jq -e '.flops_per_token == 6 * (12 * 768 * 768 + 50304 * 768) + 6 * 16 * 768'
}

@test "bench train: a table for people, in both precisions, with accumulation" {
    run train_row --precision=bf16 --accumulation=2 --recompute=block
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "gpt2  bf16  B=1 T=16 accumulation 2  recompute block" ]]
    [[ "$output" == *"tokens/s"*"% of the GEMM peak of "*"MFU"*"FLOPs a token"*"MiB on the device: parameters"* ]]
    [[ "$output" == *"class"*"share"*"floor"*"matmul"*"optimizer"*"products at "* ]]
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

gemm_row() {
    lt-bench gemm --device=cpu --batch=1 --seq=24 --gemm-size=128 --seconds=0.001 "$@"
}

@test "bench gemm: every product of a step in every type, none wrong" {
    for p in fp32 bf16 fp16; do
        gemm_row --precision=$p --json | jq -e '
            (.cases | length) == 15 and ([.cases[].wrong] | add) == 0 and ([.cases[].checked] | min) == 64
            and ([.cases[] | select(.case == "fc fprop" or .case == "fcproj dgrad") | .checked] == [128, 72])
            and .gemm_peak_flops_per_s > 0 and ([.cases[].flops_per_s] | min) > 0
            and ([.cases[] | select(.case | startswith("qkv")) | [.m, .n, .k, .calls]]
                 == [[24, 2304, 768, 12], [24, 768, 2304, 12], [2304, 768, 24, 12]])'
    done
}

@test "bench gemm: a table; a size of one's own; one case" {
    run gemm_row --m=33 --n=70 --k=129 --precision=fp32
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"case"*"TFLOP/s"*"burst"*"% peak"*"wrong"* ]]
    [ "$(grep -c '^\(fprop\|dgrad\|wgrad\) .*  0 of 64$' <<<"$output")" -eq 3 ]
    gemm_row --case='attproj wgrad' --json | jq -e '[.cases[].case] == ["attproj wgrad"]'
}

@test "bench gemm: an element over the bound is status 1" {
    run --separate-stderr gemm_row --case='fc dgrad' --bound=0 --json
    [ "$status" -eq 1 ]
    jq -e '.cases[0].wrong > 0' <<<"$output"
    [[ "$stderr" == *"gemm: "*" elements are wrong"* ]]
}

@test "bench gemm: usage errors" {
    for o in --precision=fp8 --model=gpt5 --m=3 --batch=0 --case=norm extra; do
        run gemm_row "$o"
        [ "$status" -eq 2 ]
    done
    run gemm_row --m=3 --k=4
    [[ "$output" == *"--m, --n and --k go together"* ]]
    run gemm_row --case=norm
    [[ "$output" == *'--case: expected words of a name, as "fc dgrad", found "norm"'* ]]
    run gemm_row extra
    [[ "$output" == *'gemm: unexpected argument "extra"'* ]]
}

attention_row() {
    lt-bench attention --device=cpu --batch=2 --seq=40 --heads=3 --head-dim=16 --seconds=0.001 "$@"
}

@test "bench attention: forward and backward in every type, none wrong" {
    for p in fp32 bf16 fp16; do
        attention_row --precision=$p --json | jq -e '
            [.batch, .heads, .seq, .head_dim] == [2, 3, 40, 16] and .precision == "'$p'"
            and (.kinds | length) == 1 and .kinds[0].kind == "reference" and .kinds[0].wrong == 0
            and .kinds[0].checked == 3 * (40 + 4 * 12 * 16)
            and .kinds[0].forward_seconds > 0 and .kinds[0].backward_flops_per_s > 0'
    done
    run attention_row --seq=1 --precision=fp32
    [ "$status" -eq 0 ]
    [[ "$output" == *"(2, 3, 1, 16) causal, fp32"*"reference  forward"*"reference  backward"* ]]
}

@test "bench attention: an element over the bound is status 1; what is not there, and usage" {
    run --separate-stderr attention_row --bound=0 --json
    [ "$status" -eq 1 ]
    jq -e '.kinds[0].wrong > 0' <<<"$output"
    [[ "$stderr" == *"attention: "*" elements are wrong"* ]]
    run attention_row --kind=cudnn
    [ "$status" -eq 1 ]
    [[ "$output" == *"--kind=cudnn: the device is a CPU"* ]]
    for o in --kind=flash --precision=fp8 --model=gpt5 --seq=0 extra; do
        run attention_row "$o"
        [ "$status" -eq 2 ]
    done
}

@test "bench ops: one case in every type, against the CPU in fp32" {
    for p in fp32 bf16 fp16; do
        lt-bench ops --device=cpu --rows=8 --case=residual_norm --precision=$p --json | jq -e '
            .precision == "'$p'" and .rows == 8 and .copy_bytes_per_s > 0
            and [.cases[].case] == ["copy", "residual_norm"]
            and .cases[1].wrong < 0.02 and .cases[1].bytes_per_s > 0'
    done
    run lt-bench ops --device=cpu --rows=8 --case=embed
    [ "$status" -eq 0 ]
    [[ "$output" == *"case"*"% copy"*"wrong"*"embed"* ]]
    for o in --size=d13 --precision=fp8 --case=nothing extra; do
        run lt-bench ops --device=cpu --rows=8 "$o"
        [ "$status" -eq 2 ]
    done
}
