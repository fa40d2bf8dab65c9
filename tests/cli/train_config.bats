#!/usr/bin/env bats
# lt-train's command line, its configuration, and what it says instead of training.

load tiny_run

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
    [[ "$output" == *"--checkpoint.resume: expected --checkpoint.resume=VALUE, in one argument"* ]]
    run lt-train t.yaml --training.lr 1e-4
    [ "$status" -eq 2 ]
    [[ "$output" == *"--training.lr: expected --training.lr=VALUE, in one argument"* ]]
    run lt-train t.yaml --learning_rate=1e-4
    [ "$status" -eq 2 ]
    [[ "$output" == *"--learning_rate: unknown key: did you mean training.lr?"* ]]
    run lt-train nowhere.yaml
    [ "$status" -eq 1 ]
    [[ "$output" == *"nowhere.yaml: No such file or directory"* ]]
}

@test "train: what goes with --plan only is no silent part of a run" {
    for o in "--ranks=4:mpirun -n 4 lt-train" "--json:--json: goes with --plan" \
             "--gpu-memory=1GB:--gpu-memory: goes with --plan" "--plan --dry-run:expected one of --plan"; do
        run lt-train t.yaml ${o%%:*}
        [ "$status" -eq 2 ]
        [[ "$output" == *"${o#*:}"* ]]
    done
    [ ! -e ck ] && [ ! -e logs ]
}

@test "train: a variable that the shell did not know is no value" {
    for key in training.steps training.lr training.betas device checkpoint.dir model.path; do
        run lt-train t.yaml --$key=$NOT_THERE
        [ "$status" -eq 2 ]
        [[ "$output" == *"--$key: expected "*", found "* ]]
    done
}

@test "train: keys of other trainers are told by ours" {
    while read -r theirs ours; do
        run lt-train - --print-config <<<"$theirs: 1"
        [ "$status" -eq 2 ]
        [[ "$output" == *"unknown key $theirs: did you mean $ours?" ]]
    done <<'END'
learning_rate training.lr
per_device_train_batch_size training.batch_size
num_train_epochs training.epochs
warmup_ratio training.warmup_steps
max_grad_norm training.gradient_clipping
evaluation_strategy training.eval_every_steps
zero_stage deepspeed.zero_optimization.stage
train_micro_batch_size_per_gpu deepspeed.train_micro_batch_size_per_gpu
allgather_bucket_size deepspeed.zero_optimization.allgather_bucket_size
num_layers model.n_layer
END
}

@test "train: what is known and not built is status 2, in a plan too" {
    for o in model.dropout=0.1 deepspeed.bf16.check_grad_overflow=false \
             deepspeed.prescale_gradients=true deepspeed.optimizer.type=Lion; do
        for how in --plan --quiet; do
            run lt-train t.yaml --$o $how
            [ "$status" -eq 2 ]
            [[ "$output" == *"${o%=*}"*"known, not supported yet"* ]]
        done
    done
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
    seed="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/config/seed.yaml"
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
