#!/usr/bin/env bats
# lt-ckpt-merge: every command line, exit code and message.  The checkpoint is tests/data/ckpt/golden,
# written by two ranks; the model it was imported from lies beside it.

setup() {
    data="$BATS_TEST_DIRNAME/../data/ckpt"
    golden="$data/golden"
    step="$golden/step-00000012"
    work="$BATS_TEST_TMPDIR"
}

# A copy that may be damaged.
copy() {
    cp -r "$golden" "$work/run"
    broken="$work/run/step-00000012"
}

flip() { # FILE OFFSET
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "ckpt: merge gives back the bytes that transformers wrote" {
    run lt-ckpt-merge "$step" -o "$work/out"
    [ "$status" -eq 0 ]
    [[ "$output" == *"/out: step 12, 28 tensors, 4752 parameters as fp32 in 1 file"* ]]
    cmp "$work/out/model.safetensors" "$data/tiny-gpt2/model.safetensors"
    cmp "$work/out/tokenizer.json" "$data/tiny-gpt2/tokenizer.json"
    cmp "$work/out/generation_config.json" "$data/tiny-gpt2/generation_config.json"
    jq -e '.tokenizer_class == "PreTrainedTokenizerFast"' "$work/out/tokenizer_config.json"
    [ "$(ls "$work")" = out ]
}

@test "ckpt: a directory of steps gives its newest complete one, and says so" {
    copy
    mkdir "$work/run/step-00000099" "$work/run/step-00000100.tmp.0123456789abcdef"
    run lt-ckpt-merge "$work/run" -o "$work/out"
    [ "$status" -eq 0 ]
    [[ "$output" == *"skipping $work/run/step-00000099, which is not a complete checkpoint: $work/run/step-00000099/MANIFEST: No such file"* ]]
    [[ "$output" == *"taking $broken, the newest complete checkpoint of $work/run"* ]]
}

@test "ckpt: --max-shard-size and --dtype" {
    run lt-ckpt-merge "$step" -o "$work/out" --max-shard-size=2KiB --dtype bf16
    [ "$status" -eq 0 ]
    n=$(ls "$work"/out/model-*-of-*.safetensors | wc -l)
    [ "$n" -gt 2 ]
    [[ "$output" == *"as bf16 in $n files"* ]]
    [ ! -e "$work/out/model.safetensors" ]
    jq -e '.dtype == "bfloat16"' "$work/out/config.json"
    jq -e '.metadata.total_size == 9504 and (.weight_map | length) == 28' "$work/out/model.safetensors.index.json"
    for f in $(jq -r '.weight_map[]' "$work/out/model.safetensors.index.json" | sort -u); do
        [ -e "$work/out/$f" ]
    done
}

@test "ckpt: an existing folder is replaced only with --force, and only if it is a model" {
    lt-ckpt-merge -q "$step" -o "$work/out"
    run lt-ckpt-merge "$step" -o "$work/out"
    [ "$status" -eq 1 ]
    [ "$output" = "lt-ckpt-merge: error: $work/out: exists; --force replaces it" ]
    run lt-ckpt-merge -q "$step" -o "$work/out" --force --dtype fp16
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    jq -e '.dtype == "float16"' "$work/out/config.json"
    copy
    run lt-ckpt-merge "$step" -o "$broken" --force
    [ "$status" -eq 1 ]
    [[ "$output" == *"does not look like an exported model"* ]]
    lt-ckpt-merge -q --verify "$broken"
}

@test "ckpt: no model goes into a checkpoint, which may be retired with all in it" {
    copy
    run lt-ckpt-merge "$broken" -o "$broken/model"
    [ "$status" -eq 1 ]
    [[ "$output" == *"$broken/model: $broken is a checkpoint, which lt-train may remove with all in it"* ]]
    [ ! -e "$broken/model" ]
    cd "$broken"
    run lt-ckpt-merge . -o model
    [ "$status" -eq 1 ]
    [ ! -e model ]
}

@test "ckpt: the next merge removes the folder that a killed one left" {
    sh -c 'exit 0' & dead=$!
    wait $dead
    lt-ckpt-merge -q "$step" -o "$work/out.tmp.$dead"
    mkdir "$work/out.tmp.$((dead + 1000000))" "$work/out.tmp.$((dead + 1000000))/mine"
    run lt-ckpt-merge "$step" -o "$work/out/"
    [ "$status" -eq 0 ]
    [[ "$output" == *"removed $work/out.tmp.$dead, left by a process that did not finish"* ]]
    [ "$(ls "$work" | tr '\n' ' ')" = "out out.tmp.$((dead + 1000000)) " ] # no model: not ours
}

@test "ckpt: --info for people and for programs" {
    run lt-ckpt-merge --info "$step"
    [ "$status" -eq 0 ]
    [[ "$output" == *"step        12, 48 samples, 768 tokens"* ]]
    [[ "$output" == *"by lt 0.1.0, 2 ranks"* ]]
    [[ "$output" == *"group       exp_avg, 2 files, 24360 bytes"* ]]
    [[ "$output" == *"file        tokenizer.json, 3422 bytes"* ]]
    lt-ckpt-merge --info --json "$step" >"$work/info"
    jq -e '.step == 12 and .world == 2 and .elements == 4752 and (.tensors | length) == 28' "$work/info"
    jq -e '.tensors[0].shape == [64, 12] and .files[-1].rank == 1' "$work/info"
    run bash -c "lt-ckpt-merge --info '$step' >/dev/full"
    [ "$status" -eq 1 ]
    [[ "$output" == *"standard output: No space left on device"* ]]
}

@test "ckpt: --verify names every damaged place and ends with 65" {
    run lt-ckpt-merge --verify "$step"
    [ "$status" -eq 0 ]
    [[ "$output" == *"$step is sound: 7 files"* ]]
    copy
    flip "$broken/weights-00001.safetensors" 9000
    flip "$broken/tokenizer.json" 100
    run lt-ckpt-merge --verify "$broken"
    [ "$status" -eq 65 ]
    [[ "$output" == *"weights-00001.safetensors: damaged in block 0 (bytes 0 to 12191, holding the header and tensor transformer.wte.weight and 27 more): crc32c "* ]]
    [[ "$output" == *"; bit 0 of byte 9000 flipped, in tensor transformer.h.1.attn.c_attn.weight, would explain it"* ]]
    [[ "$output" == *"tokenizer.json: damaged in block 0 (bytes 0 to 3421): crc32c "* ]]
    [[ "$output" == *"$broken is damaged" ]]
}

@test "ckpt: damage ends a merge with 65 and leaves no folder" {
    copy
    flip "$broken/weights-00000.safetensors" 5000
    run lt-ckpt-merge "$broken" -o "$work/out"
    [ "$status" -eq 65 ]
    [[ "$output" == *"weights-00000.safetensors: damaged in block 0"* ]]
    [ "$(ls "$work")" = run ]
}

@test "ckpt: a damaged, cut or missing part is named when a step is opened" {
    copy
    flip "$broken/MANIFEST" 50
    run lt-ckpt-merge --info "$broken"
    [ "$status" -eq 65 ]
    [[ "$output" == *"$broken/MANIFEST: damaged: the last line does not hold the sha256"* ]]
    flip "$broken/MANIFEST" 50
    truncate -s 100 "$broken/exp_avg-00000.safetensors"
    run lt-ckpt-merge --info "$broken"
    [ "$status" -eq 65 ]
    [[ "$output" == *"exp_avg-00000.safetensors: truncated: 100 bytes, the MANIFEST says 12168" ]]
    rm "$broken/exp_avg-00000.safetensors"
    run lt-ckpt-merge --info "$broken"
    [ "$status" -eq 65 ]
    [[ "$output" == *"exp_avg-00000.safetensors: missing from the checkpoint" ]]
    rm "$broken/MANIFEST"
    run lt-ckpt-merge --info "$broken"
    [ "$status" -eq 1 ]
    [[ "$output" == *"holds no complete checkpoint"* ]]
}

@test "ckpt: a full disk leaves no folder and one sentence" {
    run bash -c "ulimit -f 8; trap '' XFSZ; lt-ckpt-merge '$step' -o '$work/out'"
    [ "$status" -eq 1 ]
    [[ "$output" == "lt-ckpt-merge: error: $work/out.tmp."*"/model.safetensors: "*"File too large" ]]
    [ -z "$(ls "$work")" ]
}

@test "ckpt: wrong command lines end with 2" {
    for line in "" "--info" "--info $step $step" "$step" "$step -o" "$step --info --verify" \
        "$step --info -o $work/out" "$step --verify --json" "$step --info --dtype bf16" \
        "$step --verify --force" "$step -o $work/out --max-shard-size=x" "$step --colour"; do
        run lt-ckpt-merge $line
        [ "$status" -eq 2 ] || { echo "$line: $status: $output"; false; }
    done
    run lt-ckpt-merge "$step" -o "$work/out" --dtype=bf15
    [ "$status" -eq 2 ]
    [[ "$output" == *'--dtype: expected fp32, bf16 or fp16, found "bf15"; did you mean bf16'* ]]
    run lt-ckpt-merge "$step" -o ""
    [ "$status" -eq 2 ]
}

@test "ckpt: what is not there ends with 1" {
    run lt-ckpt-merge --info "$work/none"
    [ "$status" -eq 1 ]
    [ "$output" = "lt-ckpt-merge: error: $work/none: expected a checkpoint folder, found nothing" ]
    run lt-ckpt-merge --info "$step/config.json"
    [ "$status" -eq 1 ]
    [[ "$output" == *"expected a checkpoint folder, found a file" ]]
    run lt-ckpt-merge "$step" -o "$work/no/such/place"
    [ "$status" -eq 1 ]
    [[ "$output" == *"$work/no/such/place.tmp."*"No such file or directory" ]]
}

@test "ckpt: --help, --version and --man" {
    run lt-ckpt-merge --help
    [ "$status" -eq 0 ]
    [[ "$output" == *"usage: lt-ckpt-merge CHECKPOINT -o DIR [options]"* ]]
    run lt-ckpt-merge --version
    [ "$status" -eq 0 ]
    run lt-ckpt-merge --man
    [ "$status" -eq 0 ]
}
