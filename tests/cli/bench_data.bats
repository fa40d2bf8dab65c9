#!/usr/bin/env bats
# lt-bench load, tokenize, init, batches: what works on text, shards and configurations.

bats_require_minimum_version 1.5.0

load corpus

setup_file() {
    make_corpus --split train=0.8,val=0.2 --split-by tokens:256
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    ln -s "$BATS_FILE_TMPDIR/data" data
    cat >c.yaml <<'END'
model:
  name: gpt2
  vocab_size: 512
  n_positions: 32
  n_layer: 2
  n_head: 2
  n_embd: 16
training:
  steps: 6
  batch_size: 2
  gradient_accumulation_steps: 2
  lr: 1.0e-2
  warmup_steps: 2
  eval_every_steps: 0
checkpoint: { dir: ck }
logging: { dir: logs, every_steps: 5 }
END
}

@test "bench load: rate, CPU time and what was decoded" {
    lt-bench load data --seq=32 --batch=2 --steps=50 --json | jq -e '
        .steps == 50 and .tokens == 3200 and .tokens_per_s > 0 and .cpu_seconds >= 0 and .cores >= 0
        and .shuffle and .threads == 1 and .frames >= 1 and .data == "data/train.manifest" and .rate == 2e6
        and .raw_bytes_per_s > .stored_bytes_per_s'
    lt-bench load data/val.manifest --no-shuffle --document-masking --threads=2 --seq=8 --steps=5 --batch=1 --json |
        jq -e '.tokens == 80 and .threads == 2 and (.shuffle | not)'
    run lt-bench load data --seq=32 --seconds=0.01 --rate=1e6
    [ "$status" -eq 0 ]
    [[ "$output" == *"Mtokens/s in "*"MB/s compressed"*"Mtokens/s a core"*"cores for 1e+06"* ]]
}

@test "bench load: usage, and data that are not there or too small" {
    run lt-bench load
    [ "$status" -eq 2 ]
    [[ "$output" == *"load: expected one folder or manifest, found 0 arguments"* ]]
    run lt-bench load data --threads=65
    [ "$status" -eq 2 ]
    run lt-bench load nowhere
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere"*"No such file or directory"* ]]
    run lt-bench load data --seq=10000000
    [ "$status" -eq 1 ]
    [[ "$output" == *"cannot fill one sequence of 10000000"* ]]
}

@test "bench load: a damaged shard is status 65" {
    cp -rL data damaged
    at=$(($(stat -c %s damaged/train-00000.lts.zst) / 3))
    printf '\377\377\377' | dd of=damaged/train-00000.lts.zst bs=1 seek=$at conv=notrunc status=none
    run lt-bench load damaged --seq=32 --steps=200
    [ "$status" -eq 65 ]
    [[ "$output" == *"train-00000.lts.zst: frame "*"is damaged"* ]]
}

@test "bench tokenize: rates by threads, and the tokens are the text" {
    n=$(lt-tokenize --tokenizer gpt2 --count -q "$text" | awk '/^tokens/ { print $2 }')
    lt-bench tokenize "$text" --seconds=0.01 --json | jq -e --argjson n "$n" '
        .wrong == 0 and .tokens == $n and .bytes > 1000 and .peak_rss_bytes > 1e6 and (.runs | length) >= 1
        and .runs[0].threads == 1 and ([.runs[].bytes_per_s] | min) > 0'
    printf '{"text": "eins"}\n{"text": "zwei \\u00e4 \xff"}\n' >a.jsonl
    lt-bench tokenize a.jsonl "$text" -j3 --seconds=0 --tokenizer="$BATS_FILE_TMPDIR/tokenizer.json" --json |
        jq -e '.wrong == 0 and [.runs[].threads] == [3]'
    run lt-bench tokenize "$text" --seconds=0
    [ "$status" -eq 0 ]
    [[ "$output" == *"bytes a token"*"Mtokens/s"*"wrong 0 of "*"peak memory"* ]]
}

@test "bench tokenize: usage and missing files" {
    run lt-bench tokenize
    [ "$status" -eq 2 ]
    [[ "$output" == *"tokenize: no file given"* ]]
    run lt-bench tokenize nowhere.txt
    [ "$status" -eq 1 ]
    run lt-bench tokenize "$text" --tokenizer=nothing.json
    [ "$status" -eq 1 ]
    : >empty.txt
    run lt-bench tokenize empty.txt
    [ "$status" -eq 1 ]
    [[ "$output" == *"no text in the inputs"* ]]
}

losses() { jq -r 'select(.loss_hex) | .loss_hex' "$1/metrics.jsonl"; }

@test "bench init: a run from the folder is the run without it, bit for bit" {
    lt-bench init c.yaml -o start
    [ "$(jq -r '"\(.n_layer) \(.n_embd) \(.vocab_size)"' start/config.json)" = "2 16 512" ]
    lt-train c.yaml -q
    lt-train c.yaml -q --model.path=start --model.name=null --checkpoint.dir=ck2 --logging.dir=logs2
    [ "$(losses logs | wc -l)" -eq 6 ]
    [ "$(losses logs)" = "$(losses logs2)" ]
    lt-bench init c.yaml --training.seed=99 -o other
    ! cmp -s start/model.safetensors other/model.safetensors
}

@test "bench init: usage, and nothing is overwritten" {
    run lt-bench init c.yaml
    [ "$status" -eq 2 ]
    [[ "$output" == *"init: -o DIR is missing"* ]]
    run lt-bench init -o start
    [ "$status" -eq 2 ]
    [[ "$output" == *"init: expected one CONFIG.yaml, found 0 arguments"* ]]
    run lt-bench init c.yaml --model.n_layers=3 -o start
    [ "$status" -eq 2 ]
    lt-bench init c.yaml -o start
    run lt-bench init c.yaml -o start
    [ "$status" -eq 2 ]
    [[ "$output" == *"start/model.safetensors is there already"* ]]
    mkdir sharded
    echo mine >sharded/config.json
    run lt-bench init c.yaml -o sharded
    [ "$status" -eq 2 ]
    [ "$(cat sharded/config.json)" = mine ]
    run lt-bench init c.yaml --model.path=start --model.name=null -o again
    [ "$status" -eq 2 ]
    [[ "$output" == *"this model starts from the weights in start"* ]]
    [ ! -e again ]
}

@test "bench batches: what lt-train reads, and the rate of each step" {
    lt-bench batches c.yaml -o all.bin
    lt-bench batches c.yaml --steps 4 -o - >four.bin
    lt-train c.yaml -q
    jq -r 'select(.lr) | .lr' logs/metrics.jsonl >rates
    lt-train c.yaml --explain-step 1 >explained
    python3 - <<'END'
import json, struct
def read(path):
    b = open(path, "rb").read()
    n = b.index(b"\n") + 1
    h = json.loads(b[:n])
    k = h["sequences"] * h["seq_len"]
    assert len(b) == n + 8 * k * h["steps"]
    return h, [struct.unpack(f"<{2 * k}i", b[n + 8 * k * i:n + 8 * k * (i + 1)]) for i in range(h["steps"])]
h, steps = read("all.bin")
assert (h["steps"], h["sequences"], h["micro_batches"], h["seq_len"], h["vocab_size"]) == (6, 4, 2, 32, 512)
assert not h["document_masking"]
for s in steps:
    x, y = s[:128], s[128:]
    assert all(y[i] == x[i + 1] for i in range(128) if i % 32 != 31) and 0 <= min(x) and max(x) < 512
assert len(set(steps)) == 6
h4, four = read("four.bin")
assert four == steps[:4] and h4["total_steps"] == 6 and h4["lr"] == h["lr"][:4]
rates = [float(x) for x in open("rates")]
assert len(rates) == 6 and all(abs(a - b) < 1e-12 for a, b in zip(rates, h["lr"]))
END
}

@test "bench batches: usage" {
    run lt-bench batches c.yaml
    [ "$status" -eq 2 ]
    [[ "$output" == *"batches: -o FILE is missing"* ]]
    run lt-bench batches c.yaml --steps 7 -o x
    [ "$status" -eq 2 ]
    [[ "$output" == *"--steps: expected at most the run's 6, found 7"* ]]
    [ ! -e x ]
    run lt-bench batches c.yaml --data.train=nowhere -o x
    [ "$status" -eq 1 ]
    [ ! -e x ]
}

@test "bench batches: -o - into a file leaves /dev/stdout what it is" {
    before=$(readlink /dev/stdout)
    lt-bench batches c.yaml --steps 1 -o - >one.bin
    [ -s one.bin ]
    [ "$(readlink /dev/stdout)" = "$before" ]
}
