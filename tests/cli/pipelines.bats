#!/usr/bin/env bats
# The recipes of pipelines/: stages are done once, an interrupted one is done again, the end is a
# merged model.  First with stand-ins for the tools (what does make do?), then with the tools.

setup() {
    unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES OUT CORPUS CONFIG STEPS BATCH SEQ RANKS HOSTS
    recipes="$BATS_TEST_DIRNAME/../../pipelines"
    cd "$BATS_TEST_TMPDIR"
    i=1
    while [ $i -le 200 ]; do
        echo "{\"text\": \"Document $i. The ship was cheered, the harbour cleared, and merrily did we drop below the kirk, below the hill, below the lighthouse top, for the time number $i.\"}"
        i=$((i + 1))
    done >corpus.jsonl
}

# Stand-ins that write what the tools write and log their calls in calls.log.
stand_ins() {
    mkdir -p fake
    cat >fake/lt-tokenize <<'END'
#!/bin/sh
echo tokenize "$@" >>calls.log
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
echo tokens >"$out"
END
    cat >fake/lt-shard <<'END'
#!/bin/sh
echo shard "$@" >>calls.log
while [ "$1" != --out ]; do shift; done
mkdir -p "$2" && echo manifest >"$2/train.manifest"
END
    cat >fake/lt-train <<'END'
#!/bin/sh
case "$*" in *--print-config*) exit 0 ;; esac
echo train "$@" >>calls.log
[ ! -e fail-train ] || exit 75
for a; do case $a in --checkpoint.dir=*) dir=${a#*=} ;; --training.steps=*) n=${a#*=} ;; esac; done
mkdir -p "$dir/$(printf 'step-%08d' "$n")" "$dir/step-00000001.tmp.x"
END
    cat >fake/lt-ckpt-merge <<'END'
#!/bin/sh
echo merge "$@" >>calls.log
while [ "$1" != -o ]; do shift; done
mkdir -p "$2" && echo '{}' >"$2/config.json"
END
    cat >fake/mpirun <<'END'
#!/bin/sh
echo mpirun "$@" >>calls.log
shift 4
[ "$1" != --host ] || { shift; shift; }
[ "$1" != --bind-to ] || { shift; shift; }
exec "$@"
END
    chmod +x fake/*
    PATH="$PWD/fake:$PATH"
}

recipe() {
    name=$1
    shift
    make --no-print-directory -f "$recipes/$name.mk" BIN= OUT=run CORPUS=corpus.jsonl "$@"
}

calls() {
    cut -d' ' -f1 calls.log | tr '\n' ' '
}

need_tools() {
    for t in lt-tokenize lt-shard lt-train lt-ckpt-merge; do
        command -v "$t" >/dev/null || skip "$t is not built"
    done
}

# Every step 1..N stands once, in order, in the metrics log.
every_step_once() {
    sed -n 's/^{"step": *\([0-9]*\),.*/\1/p' "$1" >steps.seen
    seq 1 "$2" | diff - steps.seen
}

@test "gpt2.mk: a second run does nothing" {
    stand_ins
    recipe gpt2 STEPS=2
    [ "$(calls)" = "tokenize shard train merge " ]
    recipe gpt2 STEPS=2
    [ "$(calls)" = "tokenize shard train merge " ]
}

@test "gpt2.mk: stages one by one" {
    stand_ins
    for stage in tokens shards train merge; do
        recipe gpt2 STEPS=2 $stage
    done
    [ "$(calls)" = "tokenize shard train merge " ]
    grep -q 'run/checkpoints/step-00000002 -o run/model' calls.log
}

@test "gpt2.mk: a training that wants a restart is started again, the rest is not" {
    stand_ins
    touch fail-train
    run recipe gpt2 STEPS=2
    [ "$status" -ne 0 ]
    [ ! -e run/last-checkpoint ]
    rm fail-train
    recipe gpt2 STEPS=2
    [ "$(calls)" = "tokenize shard train train merge " ]
}

@test "gpt2.mk: more steps train on and merge again" {
    stand_ins
    recipe gpt2 STEPS=2
    recipe gpt2 STEPS=5
    [ "$(calls)" = "tokenize shard train merge train merge " ]
    [ "$(cat run/last-checkpoint)" = run/checkpoints/step-00000005 ]
}

@test "gpt2.mk: settings reach lt-train, mpirun only for more than one rank" {
    stand_ins
    recipe gpt2 STEPS=60 BATCH=3 SEQ=64 PRECISION=fp16 MODEL=gpt2-large
    grep '^train' calls.log | grep -q -e '--model.name=gpt2-large --model.precision=fp16'
    grep '^train' calls.log | grep -q -e '--training.steps=60 --training.warmup_steps=2 --training.batch_size=3'
    if grep mpirun calls.log; then false; fi
    unset MPIRUN
    recipe gpt2 STEPS=70 RANKS=2 HOSTS=a,b
    grep -q '^mpirun -n 2 --bind-to none --host a,b lt-train ' calls.log
}

@test "gpt2.mk: tools of the caller's are used as they are, nothing is built" {
    stand_ins
    rm fake/lt-ckpt-merge
    run make --no-print-directory -n -f "$recipes/gpt2.mk" BIN="$PWD/fake/" OUT=run CORPUS=corpus.jsonl
    [ "$status" -eq 0 ]
    [[ "$output" == *"$PWD/fake/lt-tokenize"* ]]
    [[ "$output" != *" all "* ]]
    run make --no-print-directory -f "$recipes/gpt2.mk" BIN="$PWD/fake/" OUT=run CORPUS=corpus.jsonl
    [ "$status" -ne 0 ]
    [[ "$output" == *"fake/lt-ckpt-merge: "* ]]
    [ "$(calls)" = "tokenize shard train " ]
}

@test "gpt2.mk: a folder with a space in its name is refused, and nothing is written" {
    stand_ins
    run recipe gpt2 OUT="my run" STEPS=2
    [ "$status" -ne 0 ]
    [[ "$output" == *"OUT has a space in it, which make cannot take: my run"* ]]
    [ ! -e my ] && [ ! -e run ] && [ ! -e calls.log ]
}

@test "gpt2.mk: a missing corpus is named" {
    run make -f "$recipes/gpt2.mk" BIN=
    [ "$status" -eq 2 ]
    [[ "$output" == *"CORPUS is not set"* ]]
    run recipe gpt2 CORPUS=nowhere.txt
    [ "$status" -eq 2 ]
    [[ "$output" == *"nowhere.txt"* ]]
}

@test "tinyfinetune.mk: the model's own tokenizer, its folder, and a second run does nothing" {
    stand_ins
    mkdir hf && touch hf/tokenizer.json
    recipe tinyfinetune MODEL_DIR=hf
    grep -q 'tokenize --tokenizer hf/tokenizer.json' calls.log
    grep -q -e '--model.path=hf' calls.log
    recipe tinyfinetune MODEL_DIR=hf
    [ "$(calls)" = "tokenize shard train merge " ]
    run make -f "$recipes/tinyfinetune.mk" BIN= CORPUS=corpus.jsonl
    [ "$status" -eq 2 ]
    [[ "$output" == *"MODEL_DIR is not set"* ]]
}

@test "a text file is one document: tinyfinetune.mk splits it, gpt2.mk when it is told to" {
    stand_ins
    tr -d '\n' <corpus.jsonl >letters.txt
    mkdir hf && touch hf/tokenizer.json
    recipe tinyfinetune MODEL_DIR=hf CORPUS=letters.txt shards
    grep -q -e '--split train=0.95,val=0.05 --split-by tokens:256 run/corpus.tok' calls.log
    recipe gpt2 OUT=run2 CORPUS=letters.txt SPLIT_BY=tokens:64 shards
    grep -q -e '--split train=0.99,val=0.01 --split-by tokens:64 run2/corpus.tok' calls.log
}

@test "setup.sh: usage, an empty environment, a system without apt" {
    run sh "$recipes/setup.sh"
    [ "$status" -eq 2 ]
    [[ "$output" == *"usage:"* ]]
    mkdir -p none
    sed 's,^PATH=.*,PATH=/nonexistent,' "$recipes/setup.sh" >none/setup.sh
    run env -i /bin/sh none/setup.sh run
    [ "$status" -eq 1 ]
    [[ "$output" == *"no Debian or Ubuntu"*libzstd-dev* ]]
}

@test "chapters.awk: a document a chapter, and a short dump is refused" {
    printf 'Ge1:1 In "the" a\\b\nGe1:2 and\n1Ki2:1 Now\n' >verses
    run awk -f "$recipes/chapters.awk" verses
    [ "$status" -eq 1 ]
    [[ "$output" == *'{"chapter":"Ge1","text":"In \"the\" a\\b\nand"}'* ]]
    [[ "$output" == *'{"chapter":"1Ki2","text":"Now"}'* ]]
    [[ "$output" == *"expected 31102 verses"*"found 3"* ]]
}

@test "gpt2.mk with the tools: a model that is not there ends the recipe before the first stage" {
    need_tools
    run recipe gpt2 MODEL=gpt5
    [ "$status" -eq 2 ]
    [[ "$output" == *"--model.name: expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found \"gpt5\""* ]]
    [ -z "$(ls run)" ]
    run recipe gpt2 MODEL=gpt5 # and is not forgotten
    [ "$status" -eq 2 ]
}

@test "gpt2.mk with the tools: a tiny model, killed in training, goes on where it was" {
    need_tools
    cat >tiny.yaml <<'END'
model: { name: gpt2, n_positions: 32, n_layer: 1, n_head: 2, n_embd: 16 }
training: { batch_size: 2, lr: 1.0e-3, eval_every_steps: 20, eval_batches: 1 }
checkpoint: { every_steps: 5, keep_last: 2 }
logging: { every_steps: 1 }
END
    set -- CONFIG=tiny.yaml STEPS=40 SPLIT=train=0.9,val=0.1 PRECISION=fp32
    recipe gpt2 "$@" shards
    tokens_before=$(stat -c %y run/corpus.tok run/data/train.manifest)
    setsid make -f "$recipes/gpt2.mk" BIN= OUT=run CORPUS=corpus.jsonl "$@" >make.log 2>&1 3>&- &
    group=$!
    i=0
    while [ ! -d run/checkpoints/step-00000005 ] && kill -0 $group 2>/dev/null && [ $i -lt 600 ]; do
        sleep 0.05
        i=$((i + 1))
    done
    kill -KILL -- -$group 2>/dev/null || true
    wait $group || true
    recipe gpt2 "$@"
    [ "$(stat -c %y run/corpus.tok run/data/train.manifest)" = "$tokens_before" ]
    [ "$(cat run/last-checkpoint)" = run/checkpoints/step-00000040 ]
    every_step_once run/logs/metrics.jsonl 40
    [ -s run/model/config.json ]
    [ -s run/model/model.safetensors ]
    [ -s run/model/tokenizer.json ]
    [ -s run/logs/loss.svg ]
    run recipe gpt2 "$@"
    [ "$status" -eq 0 ]
    [[ "$output" != *lt-* ]]
}

@test "gpt2.mk with the tools: two ranks, from text to a merged model" {
    need_tools
    MPIRUN=${MPIRUN-mpirun}
    command -v "${MPIRUN:-none}" >/dev/null || skip "lt-train was built without MPI, or there is no mpirun"
    ! "$MPIRUN" --version | grep -q 'Open MPI' || MPIRUN="$MPIRUN --oversubscribe"
    cat >tiny.yaml <<'END'
model: { name: gpt2, n_positions: 32, n_layer: 1, n_head: 2, n_embd: 16 }
training: { batch_size: 2, lr: 1.0e-3, eval_every_steps: 0 }
checkpoint: { every_steps: 1 }
logging: { every_steps: 1 }
END
    recipe gpt2 CONFIG=tiny.yaml RANKS=2 STEPS=2 SPLIT=train=0.9,val=0.1 PRECISION=fp32 MPIRUN="$MPIRUN" >out 2>&1
    cat out
    [ "$(grep -c '2 ranks on 1 host,' out)" -eq 1 ]
    every_step_once run/logs/metrics.jsonl 2
    [ "$(cat run/last-checkpoint)" = run/checkpoints/step-00000002 ]
    [ "$(ls run/checkpoints/step-00000002 | grep -c '^weights-')" -eq 2 ]
    [ -s run/model/model.safetensors ]
    [ -s run/model/tokenizer.json ]
}

@test "gpt2.mk with the tools: GPT-2 124M, two steps, stopped after and within stages" {
    need_tools
    [ "$(awk '/MemAvailable/ { print int($2 / 1e6) }' /proc/meminfo)" -ge 5 ] || skip "needs 5 GB of memory"
    [ "$(df -Pk . | awk 'NR == 2 { print int($4 / 1e6) }')" -ge 6 ] || skip "needs 6 GB of disk"
    set -- STEPS=2 BATCH=1 SEQ=64
    recipe gpt2 "$@" tokens
    recipe gpt2 "$@" shards
    before=$(stat -c %y run/corpus.tok run/data/train.manifest)
    setsid make -f "$recipes/gpt2.mk" BIN= OUT=run CORPUS=corpus.jsonl "$@" train >make.log 2>&1 3>&- &
    group=$!
    i=0
    while ! ls run/checkpoints/* >/dev/null 2>&1 && kill -0 $group 2>/dev/null && [ $i -lt 1200 ]; do
        sleep 0.05
        i=$((i + 1))
    done
    kill -KILL -- -$group 2>/dev/null || true
    wait $group || true
    recipe gpt2 "$@" train
    recipe gpt2 "$@"
    [ "$(stat -c %y run/corpus.tok run/data/train.manifest)" = "$before" ]
    [ "$(cat run/last-checkpoint)" = run/checkpoints/step-00000002 ]
    [ "$(stat -c %s run/model/model.safetensors)" -gt 490000000 ]
    rm -rf run
}
