#!/usr/bin/env bats
# lt-train on a tiny model and real text: command line, configuration, logs, faults; kills: resume.bats.

load corpus

setup_file() {
    make_corpus --split train=0.8,val=0.2 --split-by tokens:256
}

setup() {
    unset MAKEFLAGS MAKELEVEL
    golden="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/golden/gpt2"
    seed="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/config/seed.yaml"
    cd "$BATS_TEST_TMPDIR"
    cp -r "$BATS_FILE_TMPDIR/data" data
    cat >t.yaml <<'END'
model:
  name: gpt2
  vocab_size: 512
  n_positions: 32
  n_layer: 2
  n_head: 2
  n_embd: 16
training:
  steps: 20
  batch_size: 2
  gradient_accumulation_steps: 2
  lr: 1.0e-2
  warmup_steps: 2
  eval_every_steps: 10
  eval_batches: 2
checkpoint: { dir: ck, every_steps: 5, keep_last: 2 }
logging: { dir: logs, every_steps: 5 }
END
}

metric() { # NAME: that number of every step that has it, one a line
    jq -r "select(.$1 != null) | .$1" "${2:-logs}/metrics.jsonl"
}

flip() { # FILE: one bit in the middle
    at=$(($(stat -c %s "$1") / 2))
    byte=$(od -An -tu1 -j "$at" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

wait_for() { # FILE that the background job $job writes
    for i in $(seq 500); do
        [ ! -s "$1" ] || return 0
        kill -0 "$job"
        sleep 0.02
    done
    return 1
}

# A run that lasts until somebody stops it, in $job.
start_long_run() {
    lt-train t.yaml --training.steps=10000000 --checkpoint.every_steps=0 --training.eval_every_steps=0 \
        --threads=1 "$@" >out 2>err 3>&- &
    job=$!
    wait_for logs/metrics.jsonl
}

teardown() {
    [ -z "${job:-}" ] || kill -9 "$job" 2>/dev/null || true
}

# ---- command line

@test "train: --help, --man, --version" {
    run lt-train --help
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "usage: lt-train CONFIG.yaml "* ]]
    for o in --plan --ranks --gpu-memory --print-config --dry-run --explain-step --json --resume --quiet; do
        [[ "$output" == *"$o"* ]]
    done
    [ "$(lt-train --version)" = "lt-train 0.1.0" ]
    lt-train --man | sed -n 1p | grep -q '^\.TH "LT-TRAIN" 1'
    lt-train --man | grep 'exit with status 75'
}

@test "train: usage errors are status 2 and say what was expected" {
    run lt-train
    [ "$status" -eq 2 ]
    [[ "$output" == *"expected one CONFIG.yaml, found 0 arguments"* ]]
    run lt-train t.yaml more
    [ "$status" -eq 2 ]
    run lt-train t.yaml --plann
    [ "$status" -eq 2 ]
    [[ "$output" == *"unknown option --plann"*"--plan"* ]]
    run lt-train t.yaml --plan --ranks=0
    [ "$status" -eq 2 ]
    [[ "$output" == *"expected 1 to 1048576"* ]]
    run lt-train t.yaml --checkpoint.resume
    [ "$status" -eq 2 ]
    [[ "$output" == *"--checkpoint.resume: expected --section.key=value"* ]]
    run lt-train nowhere.yaml
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere.yaml: No such file or directory"* ]]
}

@test "train: --config-docs is docs/config.md" {
    lt-train --config-docs | cmp - "$BATS_TEST_DIRNAME/../../docs/config.md"
}

# ---- configuration

@test "train: an unknown key is named with file:line:column and the nearest key" {
    sed 's/  n_layer: 2/  n_layers: 2/' t.yaml >bad.yaml
    run lt-train bad.yaml
    [ "$status" -eq 2 ]
    [[ "$output" == *"bad.yaml:5:3: unknown key model.n_layers: did you mean model.n_layer?"* ]]
    run lt-train t.yaml --training.step=3
    [ "$status" -eq 2 ]
    [[ "$output" == *"--training.step: unknown key: did you mean training.steps?"* ]]
    [ ! -e ck ]
    [ ! -e logs ]
}

@test "train: wrong types and values out of range are named with their place" {
    sed 's/steps: 20/steps: many/' t.yaml >bad.yaml
    run lt-train bad.yaml
    [ "$status" -eq 2 ]
    [[ "$output" == *'bad.yaml:9:10: training.steps: expected an integer, found "many"'* ]]
    sed 's/batch_size: 2/batch_size: [2]/' t.yaml >bad.yaml
    run lt-train bad.yaml
    [ "$status" -eq 2 ]
    [[ "$output" == *"bad.yaml:10:"*"training.batch_size"* ]]
    run lt-train t.yaml --training.lr=-1
    [ "$status" -eq 2 ]
    [[ "$output" == *"--training.lr: expected 0 to 1000, found -1"* ]]
    run lt-train t.yaml --training.batch_size=2.5
    [ "$status" -eq 2 ]
    [[ "$output" == *'--training.batch_size: expected an integer, found "2.5"'* ]]
    run lt-train t.yaml --model.n_head=3
    [ "$status" -eq 2 ]
    [[ "$output" == *"n_embd: expected a multiple of n_head, 3, found 16"* ]]
    run lt-train t.yaml --model.precision=fp8
    [ "$status" -eq 2 ]
    run lt-train t.yaml --training.batch_size=2 --training.gradient_accumulation_steps=2 --training.global_batch_size=9
    [ "$status" -eq 2 ]
    [[ "$output" == *"training.global_batch_size 9"*"must be"*"= 4; leave one of the three out"* ]]
}

@test "train: argv wins over the file, and --print-config says where values came from" {
    run lt-train t.yaml --training.lr=0.5 --threads=1 --print-config
    [ "$status" -eq 0 ]
    grep -q '^  lr: 0.5 *# argv$' <<<"$output"
    grep -q '^  n_embd: 16 *# t.yaml:7$' <<<"$output"
    grep -q '^  n_inner: 64 *# derived: 4 x model.n_embd$' <<<"$output"
    grep -q '^threads: 1 *# argv$' <<<"$output"
    grep -q '^  lr_schedule: cosine *# default$' <<<"$output"
    lt-train t.yaml --training.lr=0.5 --print-config >effective.yaml
    lt-train effective.yaml --print-config | sed 's/ *#.*//' >again.yaml
    sed 's/ *#.*//' effective.yaml | cmp - again.yaml
    [ ! -e ck ]
    [ ! -e logs ]
}

@test "train: the configuration from standard input" {
    lt-train - -q --training.steps=2 <t.yaml
    [ "$(metric step | tail -1)" = 2 ]
    run lt-train - <<<"training: { stepz: 2 }"
    [ "$status" -eq 2 ]
    [[ "$output" == *":1:13: unknown key training.stepz: did you mean training.steps?"* ]]
}

@test "train: the configuration users already have is printed and planned, and asks for its data" {
    run lt-train "$seed" --print-config
    [ "$status" -eq 0 ]
    [[ "$output" == *"stage: 2 "*"seed.yaml:12"* ]]
    run lt-train "$seed" --plan
    [ "$status" -eq 0 ]
    [[ "$output" == *"ZeRO stage 2"*"fp16"* ]]
    run lt-train "$seed" --plan --json --ranks=8
    [ "$status" -eq 0 ]
    echo "$output" | jq -e '.ranks == 8 and .parameters > 1.5e9 and .gradients * 4 == .parameters and .moment1 == .master'
    rm -r data
    run lt-train "$seed"
    [ "$status" -eq 1 ]
    [[ "$output" == *"data.train: data/train.manifest is not there; make it with: lt-tokenize "*" && lt-shard "* ]]
}

# ---- without training

@test "train: --plan adds up, and opens neither data nor device" {
    rm -r data
    for o in --model.precision=fp32 --model.precision=bf16 --deepspeed.activation_checkpointing.granularity=block \
             --ranks=4 --training.sample_every_steps=5; do
        lt-train t.yaml --plan --json "$o" >plan.json
        jq -e '.total == .parameters + .gathered + .gradients + .buckets + .master + .moment1 + .moment2 + .staging + .activations + .kv_cache + .batch + .scratch + .libraries and .host_total == .host + .snapshot and .file_total == .file' plan.json
        lt-train t.yaml --plan "$o" >plan.txt
        awk 'NR > 2 { for (i = NF; $i != "MiB"; i--); if ($1 == "total") { if ($(i - 2) != sum) exit 1; sum = 0 } else sum += $(i - 2) }' plan.txt
        grep -q "^  total on the device  *$(jq .total plan.json) " plan.txt
    done
    [ ! -e ck ]
    [ ! -e logs ]
}

@test "train: --plan shrinks with recomputation, grows with the batch, and knows when it does not fit" {
    total() { lt-train t.yaml --plan --json "$@" | jq .total; }
    plain=$(total)
    [ "$(total --deepspeed.activation_checkpointing.granularity=block)" -lt "$plain" ]
    [ "$(total --training.batch_size=4)" -gt "$plain" ]
    run lt-train t.yaml --plan --gpu-memory=1MB
    [ "$status" -eq 1 ]
    [[ "$output" == *"plan: $plain bytes on the device of one rank, --gpu-memory has 1000000"* ]]
    run lt-train t.yaml --plan --gpu-memory=1GB
    [ "$status" -eq 0 ]
}

@test "train: --plan counts a snapshot for asynchronous saves only" {
    [ "$(lt-train t.yaml --plan --json | jq .snapshot)" -gt 0 ]
    [ "$(lt-train t.yaml --plan --json --checkpoint.async=false | jq .snapshot)" -eq 0 ]
}

@test "train: --plan solves a batch that is given whole for the ranks it plans" {
    run lt-train t.yaml --training.global_batch_size=32 --plan --ranks=8
    [ "$status" -eq 0 ]
    run lt-train t.yaml --training.global_batch_size=32 --plan --ranks=4
    [ "$status" -eq 2 ]
    [[ "$output" == *"x 4 ranks = 16"* ]]
}

@test "train: what the plan says is what training takes" {
    mib=$(lt-train t.yaml --plan --json | jq '.total / 1048576 * 10 | round / 10')
    run lt-train t.yaml --training.steps=1
    [ "$status" -eq 0 ]
    [[ "$output" == *", $mib MiB in use"* ]]
}

@test "train: --dry-run shows batches and rates, writes nothing" {
    run lt-train t.yaml --dry-run
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "20 steps of 4 sequences of 32 tokens" ]
    [[ "$output" == *"step 1: samples 0 to 3, 128 counted tokens"* ]]
    [[ "$output" == *"step          1  5.000000e-03"* ]]
    [[ "$output" == *"step         20  1.000000e-03"* ]]
    [ "$(grep -c '^    "' <<<"$output")" -eq 6 ]
    [ ! -e ck ]
    [ ! -e logs ]
}

@test "train: --explain-step names what a step reads, and that is what it reads" {
    run lt-train t.yaml --explain-step=3
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "step 3, learning rate "* ]]
    [ "$(grep -c '^sample ' <<<"$output")" -eq 4 ]
    first=$(sed -n 's/^sample 0:.*tokens \([0-9]*\)\.\..*/\1/p' <(lt-train t.yaml --explain-step=1))
    ids=$(lt-shard cat --ids data/train.manifest | tr '\n' ' ' | cut -d' ' -f$((first + 1))-$((first + 24)))
    lt-train t.yaml --dry-run | grep -q "row 0: $ids$"
    run lt-train t.yaml --explain-step=21
    [ "$status" -eq 2 ]
    [[ "$output" == *"--explain-step: expected 1 to 20, found 21"* ]]
}

# ---- data

@test "train: missing data names the two commands that make it" {
    run lt-train t.yaml --data.train=gone/train.manifest
    [ "$status" -eq 1 ]
    [[ "$output" == *"data.train: gone/train.manifest is not there; make it with: lt-tokenize "*"lt-shard --out "* ]]
    [ ! -e ck ]
}

@test "train: no validation data ends only evaluation that nobody asked for" {
    rm data/val*
    run lt-train t.yaml
    [ "$status" -eq 1 ]
    [[ "$output" == *"data.val: data/val.manifest is not there; make it with: lt-tokenize "* ]]
    sed -i /eval_every_steps/d t.yaml
    run lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" == *"data/val.manifest is not there: no evaluation"* ]]
    [ -z "$(metric val_loss)" ]
}

@test "train: a truncated shard is data corrupt, before training" {
    truncate -s -100 data/train-00000.lts.zst
    run lt-train t.yaml
    [ "$status" -eq 65 ]
    [[ "$output" == *"train-00000.lts.zst"* ]]
    [ ! -e logs/metrics.jsonl ]
}

@test "train: a flipped bit in a shard is found when it is read" {
    flip data/train-00000.lts.zst
    run lt-train t.yaml --training.steps=300
    [ "$status" -eq 65 ]
    [[ "$output" == *"train-00000.lts.zst"* ]]
}

@test "train: data of another vocabulary or tokenizer does not pass" {
    run lt-train t.yaml --model.vocab_size=400
    [ "$status" -eq 1 ]
    [[ "$output" == *"data/train.manifest was made with 512 token ids, the model has 400"* ]]
    run lt-train t.yaml --data.tokenizer=gpt2
    [ "$status" -eq 1 ]
    [[ "$output" == *"gpt2 is not the tokenizer that made data/train.manifest"* ]]
}

# ---- training

@test "train: metrics, TensorBoard events, loss curve, checkpoints" {
    run lt-train t.yaml --logging.tensorboard=true
    [ "$status" -eq 0 ]
    [ "$(metric step | tr '\n' ' ')" = "$(seq -s' ' 1 20) " ]
    jq -e '.loss > 0 and .lr > 0 and .grad_norm > 0 and .tokens == .step * 128 and .samples == .step * 4 and .loss_scale == 1' logs/metrics.jsonl >/dev/null
    # loss_hex is the loss, to the last bit
    metric loss_hex | python3 -c 'import sys; print("\n".join(repr(float.fromhex(x)) for x in sys.stdin.read().split()))' >from_hex
    metric loss | python3 -c 'import sys; print("\n".join(repr(float(x)) for x in sys.stdin.read().split()))' | cmp - from_hex
    [ "$(metric val_loss | wc -l)" -eq 2 ]
    jq -es '(.[0].loss - .[19].loss) > 0.5' logs/metrics.jsonl
    [ "$(cat logs/events.out.tfevents.* | wc -c)" -gt 500 ]
    grep -q '<svg' logs/loss.svg
    [ "$(ls ck | tr '\n' ' ')" = "lock step-00000015 step-00000020 " ]
    [ "$(ls ck/step-00000020 | tr '\n' ' ')" = "MANIFEST config.json config.yaml exp_avg-00000.safetensors exp_avg_sq-00000.safetensors generation_config.json state.json tokenizer.json weights-00000.safetensors " ]
    cmp ck/step-00000020/tokenizer.json data/tokenizer.json
    jq -e '.step == 20 and .samples == 80 and .adam_t == 20 and .skipped_steps == 0' ck/step-00000020/state.json
    [[ "$output" == *"step 20: validation loss "*"saved ck/step-00000020"*"loss curve: logs/loss.svg"* ]]
}

@test "train: done is done; the same command again trains nothing" {
    lt-train t.yaml -q
    sum=$(cat ck/step-*/* logs/metrics.jsonl | sha256sum)
    run lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" == *"step 20 of 20: nothing left to train"* ]]
    [ "$(cat ck/step-*/* logs/metrics.jsonl | sha256sum)" = "$sum" ]
}

@test "train: stopped half way and gone on is the undisturbed run, bit for bit" {
    lt-train t.yaml -q --checkpoint.dir=a --logging.dir=la
    lt-train t.yaml -q --checkpoint.dir=b --logging.dir=lb --training.steps=20 --checkpoint.every_steps=10
    rm -r b/step-00000020
    lt-train t.yaml -q --checkpoint.dir=b --logging.dir=lb
    cmp <(metric loss_hex la) <(metric loss_hex lb)
    cmp <(metric val_loss la) <(metric val_loss lb)
    lt-ckpt-merge -q a -o merged-a
    lt-ckpt-merge -q b -o merged-b
    cmp merged-a/model.safetensors merged-b/model.safetensors
}

@test "train: precision, recomputation, document masking, threads" {
    lt-train t.yaml -q --checkpoint.dir=a --logging.dir=fp32
    for k in selective block; do
        lt-train t.yaml -q --checkpoint.dir=ck-$k --logging.dir=$k --deepspeed.activation_checkpointing.granularity=$k
        cmp <(metric loss_hex fp32) <(metric loss_hex $k)
    done
    lt-train t.yaml -q --checkpoint.dir=t1 --logging.dir=threads --threads=1
    cmp <(metric loss_hex fp32) <(metric loss_hex threads)
    lt-train t.yaml -q --checkpoint.dir=b --logging.dir=bf16 --model.precision=bf16
    lt-train t.yaml -q --checkpoint.dir=m --logging.dir=mask --data.document_masking=true
    for d in bf16 mask; do
        [ "$(metric step $d | tail -1)" = 20 ]
        jq -es '(.[0].loss - .[19].loss) > 0.5' $d/metrics.jsonl
        if cmp -s <(metric loss_hex fp32) <(metric loss_hex $d); then false; fi
    done
    # eight bits of mantissa: near, not equal
    paste <(metric loss fp32) <(metric loss bf16) | awk '{ d = ($1 - $2) / $1; if (d < -0.03 || d > 0.03) exit 1 }'
}

@test "train: micro-batches and accumulation are one batch" {
    lt-train t.yaml -q --checkpoint.dir=a --logging.dir=la --training.batch_size=4 --training.gradient_accumulation_steps=1
    lt-train t.yaml -q --checkpoint.dir=b --logging.dir=lb --training.batch_size=1 --training.gradient_accumulation_steps=4
    paste <(metric loss la) <(metric loss lb) | awk '{ d = ($1 - $2) / $1; if (d < -1e-5 || d > 1e-5) exit 1; n++ } END { exit n != 20 }'
}

@test "train: logging.timing measures the parts of a step, and nothing else changes" {
    lt-train t.yaml -q --checkpoint.dir=a --logging.dir=plain
    lt-train t.yaml -q --checkpoint.dir=b --logging.dir=timed --logging.timing=true
    jq -es 'all(.forward_ms > 0 and .backward_ms > 0 and .optimizer_ms > 0 and .forward_ms + .backward_ms + .optimizer_ms < .step_ms * 1.01)' timed/metrics.jsonl
    jq -es 'all(has("forward_ms") | not)' plain/metrics.jsonl
    cmp <(metric loss_hex plain) <(metric loss_hex timed)
}

@test "train: evaluations and samples appear in the log" {
    run lt-train t.yaml --training.sample_every_steps=10 --training.sample_max_tokens=8 \
        --training.sample_prompts="And God,In the" --training.eval_every_steps=7
    [ "$status" -eq 0 ]
    for s in 7 14 20; do [[ "$output" == *"step $s: validation loss "*", perplexity "* ]]; done
    for s in 10 20; do
        [[ "$output" == *"step $s: sample: And God"* ]]
        [[ "$output" == *"step $s: sample: In the"* ]]
    done
    [ "$(jq -c 'select(.val_loss != null) | .step' logs/metrics.jsonl | tr '\n' ' ')" = "7 14 20 " ]
}

@test "train: a DeepSpeed configuration with WarmupDecayLR follows DeepSpeed's curve" {
    sed '/lr: 1.0e-2/d; /warmup_steps/d; /gradient_accumulation_steps/d; /batch_size/d' t.yaml >ds.yaml
    cat >>ds.yaml <<'END'
deepspeed: {
  "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 2, "train_batch_size": "auto",
  "gradient_clipping": 1.0, "zero_optimization": {"stage": 0},
  "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}},
  "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": 0, "warmup_max_lr": 1e-3,
    "warmup_num_steps": 4, "total_num_steps": 20, "warmup_type": "linear"}}
}
END
    lt-train ds.yaml -q
    metric lr >rates
    # step s sees DeepSpeed's index s - 2
    awk '{ i = NR - 2; want = i < 0 ? 0 : i < 4 ? 1e-3 * i / 4 : 1e-3 * (20 - i) / 16; d = $1 - want
           if (d < -1e-12 || d > 1e-12) exit 1 } END { exit NR != 20 }' rates
}

@test "train: fine-tuning a merged model begins where training ended" {
    lt-train t.yaml -q
    lt-ckpt-merge -q ck -o model
    cat >ft.yaml <<'END'
model: { path: model }
training: { steps: 2, batch_size: 2, gradient_accumulation_steps: 2, lr: 1.0e-12, eval_every_steps: 1, eval_batches: 2 }
checkpoint: { dir: ck2 }
logging: { dir: logs2 }
END
    run lt-train ft.yaml
    [ "$status" -eq 0 ]
    paste <(metric val_loss | tail -1) <(metric val_loss logs2 | head -1) | awk '{ d = $1 - $2; exit !(d < 1e-5 && d > -1e-5) }'
    lt-ckpt-merge -q ck2 -o model2
    jq -e '.n_layer == 2 and .n_embd == 16 and .vocab_size == 512' model2/config.json
    cmp model/tokenizer.json model2/tokenizer.json
}

@test "train: a model whose vocabulary is smaller than the data's is refused" {
    printf 'model: { path: %s }\ntraining: { steps: 2 }\n' "$golden" >hf.yaml
    run lt-train hf.yaml
    [ "$status" -eq 1 ]
    [[ "$output" == *"was made with 512 token ids, the model has 211"* ]]
    printf 'model: { path: nowhere }\ntraining: { steps: 2 }\n' >hf.yaml
    run lt-train hf.yaml
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere/config.json: No such file or directory"* ]]
}

@test "train: -q says nothing when all is well" {
    run lt-train t.yaml -q
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

# ---- stopping and faults

@test "train: SIGTERM, SIGINT, SIGUSR1 save and exit 75, and the same command goes on" {
    for signal in TERM INT USR1; do
        rm -rf ck logs
        start_long_run
        kill -$signal $job
        status=0
        wait $job || status=$?
        [ $status -eq 75 ]
        grep -q "stopped by signal $(kill -l $signal) after step [0-9]*; run the same command to go on" err
        step=$(metric step | tail -1)
        [ "$(ls ck | tr '\n' ' ')" = "lock $(printf 'step-%08d' "$step") " ]
    done
    run lt-train t.yaml --training.steps=$((step + 3)) --training.eval_every_steps=0
    [ "$status" -eq 0 ]
    [[ "$output" == *"resuming from ck/$(printf 'step-%08d' "$step"): step $step, $((step * 4)) samples"* ]]
    [ "$(metric step | tail -1)" -eq $((step + 3)) ]
    [ "$(metric step | sort -n | uniq -d)" = "" ]
}

@test "train: a second job on the same checkpoints is refused and names the holder" {
    start_long_run
    run lt-train t.yaml --logging.dir=other
    [ "$status" -eq 1 ]
    [[ "$output" == *"ck: another job writes checkpoints here: host $(hostname), pid $job, since "* ]]
    [ ! -e other ]
    kill -9 $job
    wait $job || true
    run lt-train t.yaml --training.steps=2 # a dead job blocks nobody
    [ "$status" -eq 0 ]
}

@test "train: no room for a checkpoint is a sentence; the old one stays whole" {
    lt-train t.yaml -q --training.steps=5 --training.warmup_steps=0
    before=$(cat ck/step-00000005/* | sha256sum)
    run bash -c 'ulimit -f 40; trap "" XFSZ; lt-train t.yaml'
    [ "$status" -eq 1 ]
    [[ "$output" == *"ck/step-00000010.tmp."*".safetensors: write at offset "*": File too large"* ]]
    [ "$(sed -n 's/.*error: .*-0*\([0-9]*\)\.tmp.*/\1/p' <<<"$output" | tr '\n' ' ')" = "10 15 20 " ] # once each
    [ "$(ls ck | tr '\n' ' ')" = "lock step-00000005 " ]
    [ "$(cat ck/step-00000005/* | sha256sum)" = "$before" ]
    run lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" == *"resuming from ck/step-00000005"* ]]
}

@test "train: a full disk is a sentence; the old checkpoint stays whole" {
    mkdir small
    unshare -rm mount -t tmpfs none small 2>/dev/null || skip "no user namespaces here"
    run unshare -rm sh -c 'mount -t tmpfs -o size=600k none small && lt-train t.yaml --checkpoint.dir=small
        echo "status $?"; ls small; lt-ckpt-merge -q small/step-00000010 -o model && echo whole'
    [[ "$output" == *"small/step-00000015.tmp."*"No space left on device"*"status 1"*"step-00000010"*whole* ]]
    [[ "$output" != *"step-00000015.tmp"*"status 1"*"step-00000015"* ]]
}

@test "train: a flipped bit in a checkpoint: auto falls back loudly, a named one is status 65" {
    lt-train t.yaml -q
    flip ck/step-00000020/exp_avg-00000.safetensors
    run lt-train t.yaml --resume ck/step-00000020
    [ "$status" -eq 65 ]
    [[ "$output" == *"ck/step-00000020/exp_avg-00000.safetensors"* ]]
    run lt-train t.yaml
    [ "$status" -eq 0 ]
    [[ "$output" == *"ck/step-00000020 is damaged: set aside as damaged.step-00000020, falling back to ck/step-00000015"* ]]
    [[ "$output" == *"resuming from ck/step-00000015: step 15"* ]]
    [ "$(metric step | tr '\n' ' ')" = "$(seq -s' ' 1 20) " ]
    lt-ckpt-merge -q ck/step-00000020 -o model
    # nothing left to fall back to is an error every time, never a new run
    rm -r ck/step-00000015 ck/damaged.step-00000020
    flip ck/step-00000020/weights-00000.safetensors
    for again in 1 2; do
        run lt-train t.yaml
        [ "$status" -eq 65 ]
        [[ "$output" == *"no older checkpoint to fall back to: "*"ck/step-00000020/weights-00000.safetensors"* ]]
    done
}

@test "train: what a killed job left is swept, an incomplete step is skipped loudly" {
    lt-train t.yaml -q
    mkdir ck/step-00000025.tmp.0123456789abcdef ck/step-00000099
    run lt-train t.yaml --training.steps=22
    [ "$status" -eq 0 ]
    [[ "$output" == *"removing ck/step-00000025.tmp.0123456789abcdef, left by a job that did not finish"* ]]
    [[ "$output" == *"skipping ck/step-00000099, which is not a complete checkpoint"* ]]
    [[ "$output" == *"resuming from ck/step-00000020"* ]]
    [ ! -e ck/step-00000025.tmp.0123456789abcdef ]
}

@test "train: a checkpoint of another model, seed or data is refused; a new run needs an empty directory" {
    lt-train t.yaml -q --training.steps=5
    run lt-train t.yaml --training.seed=2
    [ "$status" -eq 1 ]
    [[ "$output" == *"ck/step-00000005 was trained with training.seed 42, this run has 2"* ]]
    run lt-train t.yaml --model.n_layer=3
    [ "$status" -eq 1 ]
    [[ "$output" == *"transformer.h.2"* ]]
    run lt-train t.yaml --data.train=data/val.manifest
    [ "$status" -eq 1 ]
    [[ "$output" == *"was trained with data set "* ]]
    run lt-train t.yaml --resume=never
    [ "$status" -eq 2 ]
    [[ "$output" == *"checkpoint.dir: ck/step-00000005 is there, but this run begins after step 0; move it away or name another directory"* ]]
    run lt-train t.yaml --resume=nowhere
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere: expected a checkpoint folder, found nothing"* ]]
    [ "$(ls ck | tr '\n' ' ')" = "lock step-00000005 " ]
}

@test "train: twenty steps in a row without a finite gradient end the run; no weight changed" {
    lt-train t.yaml -q --training.steps=5
    lt-ckpt-merge -q ck -o model
    python3 - <<'END'
import json, struct
b = bytearray(open("model/model.safetensors", "rb").read())
n = struct.unpack("<Q", b[:8])[0]
head = json.loads(b[8:8 + n])
at = 8 + n + next(v for k, v in head.items() if k.endswith("ln_f.bias"))["data_offsets"][0]
b[at:at + 4] = struct.pack("<f", float("nan"))
open("model/model.safetensors", "wb").write(b)
END
    printf 'model: { path: model }\ntraining: { steps: 40, batch_size: 2, eval_every_steps: 0 }
checkpoint: { dir: ck2, every_steps: 10 }\nlogging: { dir: logs2 }\n' >nan.yaml
    run lt-train nan.yaml
    [ "$status" -eq 1 ]
    [[ "$output" == *"warning: step 1: the update was skipped: the gradient of "*" is not finite (loss scale 1)"* ]]
    [[ "$output" == *"step 20: 20 steps in a row had gradients that are not finite; training has diverged"* ]]
    lt-ckpt-merge -q --allow-nonfinite ck2/step-00000010 -o model2
    cmp model/model.safetensors model2/model.safetensors
    # the count of skipped steps goes on with the run
    run lt-train nan.yaml --training.steps=12
    [ "$status" -eq 0 ]
    [ "$(metric skipped_steps logs2 | tr '\n' ' ')" = "$(seq -s' ' 1 12) " ]
}

@test "train: fp16 scales the loss, halves the scale on overflow, and resumes with it" {
    lt-train t.yaml -q --checkpoint.dir=a --logging.dir=fp32
    lt-train t.yaml -q --checkpoint.dir=b --logging.dir=fp16 --model.precision=fp16
    paste <(metric loss fp32) <(metric loss fp16) | awk '{ d = ($1 - $2) / $1; if (d < -0.03 || d > 0.03) exit 1 }'
    jq -es 'all(.loss_scale == 65536 and .skipped_steps == 0)' fp16/metrics.jsonl
    run lt-train t.yaml --checkpoint.dir=c --logging.dir=high --model.precision=fp16 \
        --deepspeed.fp16.initial_scale_power=26 --checkpoint.every_steps=5 --checkpoint.keep_last=0
    [ "$status" -eq 0 ]
    [[ "$output" == *"step 1: the update was skipped: the gradient of transformer."*" is not finite (loss scale 6.71089e+07)"* ]]
    jq -es '.[0].loss_scale == 67108864 and .[1].loss_scale == .[0].loss_scale and .[2].loss_scale * 2 == .[1].loss_scale' high/metrics.jsonl
    jq -es '.[19].skipped_steps > 2 and .[19].loss_scale < .[0].loss_scale / 4' high/metrics.jsonl
    lt-train t.yaml -q --checkpoint.dir=d --logging.dir=again --model.precision=fp16 \
        --deepspeed.fp16.initial_scale_power=26 --checkpoint.resume=c/step-00000005
    cmp <(metric loss_hex high | tail -n 15) <(metric loss_hex again | tail -n 15)
}

@test "train: a static loss scale stays, and overflow at the smallest scale is the end" {
    lt-train t.yaml -q --logging.dir=fixed --model.precision=fp16 --deepspeed.fp16.loss_scale=128
    jq -es 'all(.loss_scale == 128)' fixed/metrics.jsonl
    run lt-train t.yaml --checkpoint.dir=e --model.precision=fp16 --deepspeed.fp16.initial_scale_power=26 \
        --deepspeed.fp16.min_loss_scale=67108864
    [ "$status" -eq 1 ]
    [[ "$output" == *"gradients overflow at the smallest loss scale, 6.71089e+07; train in bf16, or lower training.lr"* ]]
}
