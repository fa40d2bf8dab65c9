#!/usr/bin/env bats
# lt-train generate: text from a checkpoint and from a Hugging Face folder.

bats_require_minimum_version 1.5.0

load corpus

setup_file() {
    make_corpus --split train=1
    cat >t.yaml <<'END'
model: { name: gpt2, vocab_size: 512, n_positions: 32, n_layer: 2, n_head: 2, n_embd: 32 }
training: { steps: 60, batch_size: 8, lr: 1.0e-2, warmup_steps: 5, eval_every_steps: 0 }
checkpoint: { dir: ck, every_steps: 40 }
logging: { dir: logs }
END
    lt-train t.yaml -q
    lt-ckpt-merge -q ck -o model
}

setup() {
    cd "$BATS_FILE_TMPDIR"
}

greedy() {
    lt-train generate -t 0 -n 20 --prompt "And God" "$@" 2>err
}

@test "generate: text on standard output, nothing else, the prompt first" {
    run --separate-stderr lt-train generate --checkpoint ck --prompt "And God" -n 12
    [ "$status" -eq 0 ]
    [[ "$output" == "And God"* ]]
    [ "${#output}" -gt 8 ]
    [ -z "$stderr" ]
}

@test "generate: the same seed writes the same text, another one another" {
    one=$(lt-train generate --checkpoint ck --prompt "And" -s 7)
    [ "$(lt-train generate --checkpoint ck --prompt "And" -s 7 --threads=1)" = "$one" ]
    [ "$(lt-train generate --checkpoint ck --prompt "And" -s 8)" != "$one" ]
}

@test "generate: greedy text is that of the checkpoint, its directory, and the merged model" {
    text=$(greedy --checkpoint ck/step-00000060)
    [ "${#text}" -gt 10 ]
    [ "$(greedy --checkpoint ck)" = "$text" ]
    [ "$(greedy --model model)" = "$text" ]
    [ "$(greedy --model model --tokenizer tokenizer.json)" = "$text" ]
    [ "$(greedy --checkpoint ck --top-k 1 -t 0.9)" = "$text" ]
    [ "$(greedy --checkpoint ck --top-p 0.000001 -t 0.9)" = "$text" ]
    [ "$(greedy --checkpoint ck/step-00000040)" != "" ]
}

@test "generate: a folder with vocab.json and merges.txt instead of tokenizer.json" {
    cp -r model "$BATS_TEST_TMPDIR/old"
    cd "$BATS_TEST_TMPDIR/old"
    jq -c .model.vocab tokenizer.json >vocab.json
    { echo "#version: 0.2"; jq -r '.model.merges[] | if type == "array" then join(" ") else . end' tokenizer.json; } >merges.txt
    rm tokenizer.json
    cd "$BATS_FILE_TMPDIR"
    # the end-of-text token has no place in the old format's vocabulary unless it is listed
    run greedy --model "$BATS_TEST_TMPDIR/old"
    [ "$status" -eq 0 ]
    [ "$output" = "$(greedy --model model)" ]
}

@test "generate: several prompts, one text each; none begins a text" {
    lt-train generate --checkpoint ck -t 0 -n 3 -p "In the" -p "And God" -p "Ge1:1" >"$BATS_TEST_TMPDIR/out"
    for p in "In the" "And God" "Ge1:1"; do
        lt-train generate --checkpoint ck -t 0 -n 3 -p "$p"
    done | cmp - "$BATS_TEST_TMPDIR/out"
    [ -n "$(lt-train generate --checkpoint ck -t 0 -n 3)" ]
}

@test "generate: -n counts tokens; the model's positions are the end" {
    long=$(lt-train generate --checkpoint ck -t 0 -p "And" -n 1000)
    [ "${#long}" -gt 20 ]
    [ "$(lt-tokenize --tokenizer tokenizer.json --count <(printf %s "$long") | grep -o '[0-9]*' | head -1)" -le 40 ]
    short=$(lt-train generate --checkpoint ck -t 0 -p "And" -n 3)
    [[ "$long" == "$short"* ]]
    run lt-train generate --checkpoint ck -p "$(printf 'wxyz%.0s' $(seq 30))"
    [ "$status" -eq 2 ]
    [[ "$output" == *"tokens leave no room in the model's 32 positions"* ]]
}

@test "generate: bf16" {
    run lt-train generate --checkpoint ck --precision bf16 -t 0 -n 8 -p "And God"
    [ "$status" -eq 0 ]
    [[ "$output" == "And God"* ]]
}

@test "generate: usage errors are status 2" {
    run lt-train generate
    [ "$status" -eq 2 ]
    [[ "$output" == *"generate: expected --checkpoint DIR or --model DIR"* ]]
    run lt-train generate --checkpoint ck --model model
    [ "$status" -eq 2 ]
    [[ "$output" == *"found both"* ]]
    run lt-train generate --checkpoint ck --precision fp64
    [ "$status" -eq 2 ]
    [[ "$output" == *'--precision: expected fp32 or bf16, found "fp64"'* ]]
    for o in -t=-1 --top-p=2 --top-k=-1 --max-tokens=0 --temperature=1000 --threads=0; do
        run lt-train generate --checkpoint ck "$o"
        [ "$status" -eq 2 ]
    done
    run lt-train generate --checkpoint ck text
    [ "$status" -eq 2 ]
    [[ "$output" == *'unexpected argument "text"'* ]]
    lt-train generate --help | grep -q -e --temperature
    lt-train generate --man | grep -q '^.TH'
}

@test "generate: a missing, damaged or mismatched model is named" {
    run lt-train generate --checkpoint nowhere
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere: expected a checkpoint folder, found nothing"* ]]
    run lt-train generate --model nowhere
    [ "$status" -eq 1 ]
    run lt-train generate --checkpoint ck --tokenizer gpt2 -p "Nebuchadnezzar"
    [ "$status" -eq 1 ]
    [[ "$output" == *"the model has 512: wrong tokenizer"* ]]
    cp -r ck/step-00000060 "$BATS_TEST_TMPDIR/bad"
    printf 'X' | dd of="$BATS_TEST_TMPDIR/bad/weights-00000.safetensors" bs=1 seek=20000 conv=notrunc status=none
    run lt-train generate --checkpoint "$BATS_TEST_TMPDIR/bad"
    [ "$status" -eq 65 ]
    [[ "$output" == *"bad/weights-00000.safetensors"* ]]
}

@test "generate: a reader that goes away is an error, not a crash" {
    run bash -c 'lt-train generate --checkpoint ck -n 5 >/dev/full'
    [ "$status" -eq 1 ]
    [[ "$output" == *"standard output: No space left on device"* ]]
}
