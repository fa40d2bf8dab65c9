#!/bin/sh
# Runs on several GPUs of one host what the CPU ranks of `make check` show among processes, and what
# only GPUs can show; ends with "N passed, N failed".
#   RANKS=4 sh tests/check_gpus.sh [PART...]   golden comm stages resume pipeline seed kill big; all but big
# Called by `make check-gpus RANKS=n` with the build folder in B.  big trains 13.4 G parameters: it
# takes 165 GB of host memory and, on two GPUs, 53 GB of each.
set -u
cd "$(dirname "$0")/.." || exit 1
B=$(cd "${B:-build/release}" && pwd) || exit 1
RANKS=${RANKS:-2}
device=${DEVICE:-cuda} # cpu: to try the script itself
MPIRUN=${MPIRUN:-mpirun}
PATH=$B/bin:$PATH
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 NCCL_NVLS_ENABLE="${NCCL_NVLS_ENABLE:-0}"
work=$(mktemp -d) || exit 1
job=
clean_up() {
    [ -z "$job" ] || kill -9 "$job" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
passed=0 failed=0
[ "$device" != cuda ] || command -v nvidia-smi >/dev/null || {
    echo "check_gpus.sh: expected nvidia-smi, which tells what memory is in use, found none" >&2
    exit 1
}

verdict() { # STATUS WHAT: what went wrong is in $work/out
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $2"
    else
        failed=$((failed + 1))
        echo "not ok $2"
        tail -20 "$work/out"
    fi
}

on() { # RANKS COMMAND...
    n=$1
    shift
    [ "$n" -eq 1 ] || set -- "$MPIRUN" -n "$n" --bind-to none "$@"
    timeout -k 5 300 "$@" >"$work/out" 2>&1 </dev/null
}

gpu_memory() { # MiB in use on all GPUs together
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | awk '{ n += $1 } END { print n + 0 }'
}

idle=0
[ "$device" != cuda ] || idle=$(gpu_memory)
freed() { # nothing of ours is left on the GPUs 10 s after the last process
    [ "$device" = cuda ] || return
    tries=0
    while [ "$(gpu_memory)" -gt "$idle" ] && [ $tries -lt 20 ]; do
        tries=$((tries + 1))
        sleep 0.5
    done
    echo "in use: $(gpu_memory) MiB" >"$work/out"
    [ "$(gpu_memory)" -le "$idle" ]
    verdict $? "$1: the memory of the GPUs is free"
}

# until_logged N: the run of the background has logged step N; false where it ended before
until_logged() {
    while ! grep -q "^{\"step\":$1," "$work/run/logs/metrics.jsonl" 2>/dev/null; do
        kill -0 "$job" 2>/dev/null || return 1
        sleep 0.1
    done
}

losses() { # NAME: step, loss and all bits of it
    sed -n 's/^{"step":\([0-9]*\),.*"loss":\([^,]*\),.*"loss_hex":"\([^"]*\)".*/\1 \2 \3/p' "$work/$1/logs/metrics.jsonl"
}

small() { # NAME RANKS OPTION...: 20 steps of a small model; every global batch is the same 16 sequences
    name=$1 n=$2
    shift 2
    on "$n" lt-train "$work/small.yaml" --checkpoint.dir="$work/$name/ck" --logging.dir="$work/$name/logs" "$@"
}

stage=deepspeed.zero_optimization.stage
optimizer=deepspeed.zero_optimization.offload_optimizer
param=deepspeed.zero_optimization.offload_param
write_small() {
    data=$PWD/tests/data/train
    cat >"$work/small.yaml" <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 3, n_head: 4, n_embd: 64 }
training: { steps: 20, global_batch_size: 16, lr: 1.0e-3, lr_schedule: constant, warmup_steps: 0,
            eval_every_steps: 0 }
data: { train: $data/train.manifest, val: $data/val.manifest }
checkpoint: { every_steps: 0 }
logging: { every_steps: 10, tensorboard: false }
device: $device
END
}

same_bits() { # A B
    losses "$1" >"$work/a"
    losses "$2" | cmp - "$work/a" >>"$work/out" 2>&1 && [ "$(wc -l <"$work/a")" -eq 20 ]
    verdict $? "$1 and $2: the same bits in $(wc -l <"$work/a") losses"
}

within() { # BOUND A B: relative, every step
    losses "$2" >"$work/a"
    losses "$3" | paste -d ' ' "$work/a" - | awk -v bound="$1" '
        { d = ($2 - $5) / $2; d = d < 0 ? -d : d; worst = d > worst ? d : worst; bad += $1 != $4 || !(d <= bound) }
        END { print worst; exit bad || NR != 20 }' >"$work/out"
    verdict $? "$2 and $3: losses within $(tail -1 "$work/out") (bound $1)"
}

part_golden() {
    for precision in fp32 bf16; do
        for s in 0 1 2 3; do
            on "$RANKS" lt-bench golden --device="$device" --precision=$precision --stage=$s tests/data/golden/gpt2
            verdict $? "golden, $precision, stage $s"
        done
    done
    on "$RANKS" lt-bench golden --device="$device" --stage=2 --offload-optimizer=cpu tests/data/golden/gpt2
    verdict $? "golden, stage 2, optimizer in host memory"
    on "$RANKS" lt-bench golden --device="$device" --stage=3 --offload-optimizer="nvme:$work" \
        --offload-param="nvme:$work" tests/data/golden/gpt2
    verdict $? "golden, stage 3, all in files"
}

part_comm() {
    on "$RANKS" lt-bench comm --device="$device" --factor=32 --max=128MiB --seconds=0.02
    verdict $? "collectives: no wrong element"
    [ ! -x "$B/tests/comm/ranks_comm" ] || {
        on "$RANKS" env LT_TEST_DEVICE=$device "$B/tests/comm/ranks_comm"
        verdict $? ranks_comm
    }
}

part_stages() {
    for precision in fp32 bf16; do
        bound=1e-5
        [ $precision = fp32 ] || bound=2e-2
        small $precision.one 1 --model.precision=$precision || verdict 1 "one rank, $precision"
        for s in 0 1 2 3; do
            small $precision.$s "$RANKS" --model.precision=$precision --$stage=$s ||
                verdict 1 "stage $s, $precision"
            within $bound $precision.one $precision.$s
        done
        same_bits $precision.0 $precision.1
        same_bits $precision.2 $precision.3
        small $precision.again "$RANKS" --model.precision=$precision --$stage=2 || verdict 1 "stage 2 again"
        same_bits $precision.2 $precision.again
        small $precision.cpu "$RANKS" --model.precision=$precision --$stage=2 --$optimizer.device=cpu ||
            verdict 1 "stage 2, optimizer in host memory"
        same_bits $precision.2 $precision.cpu
        small $precision.both "$RANKS" --model.precision=$precision --$stage=3 --$optimizer.device=cpu \
            --$param.device=cpu || verdict 1 "stage 3, all in host memory"
        same_bits $precision.3 $precision.both
    done
}


# Saved by all ranks, by half of them and by one: each goes on from the files of the one before.
part_resume() {
    small whole 1 || verdict 1 "one rank throughout"
    small parts "$RANKS" --$stage=3 --training.steps=7 || verdict 1 "$RANKS ranks at stage 3"
    small parts $((RANKS / 2)) --$stage=2 --training.steps=14 || verdict 1 "$((RANKS / 2)) ranks at stage 2"
    small parts 1 || verdict 1 "one rank at stage 0"
    within 1e-5 whole parts
}

# This tree's own text through the recipe, once: what the following parts train on.
make_text() {
    [ ! -d "$work/gpt2" ] || return
    mkdir "$work/text"
    find lib tools tests docs -name '*.[ch]' -o -name '*.cu' -o -name '*.md' | while read -r f; do
        cp "$f" "$work/text/$(echo "$f" | tr / -).txt"
    done
    make -f pipelines/gpt2.mk BIN="$B/bin/" OUT="$work/gpt2" CORPUS="$(echo "$work"/text/*.txt)" \
        SPLIT=train=0.9,val=0.1 shards >"$work/out" 2>&1 || verdict 1 "text to shards"
}

part_pipeline() {
    make_text
    make -f pipelines/gpt2.mk BIN="$B/bin/" OUT="$work/gpt2" CORPUS="$(echo "$work"/text/*.txt)" \
        SPLIT=train=0.9,val=0.1 RANKS="$RANKS" STEPS=60 BATCH=8 >"$work/out" 2>&1 &&
        lt-ckpt-merge --verify "$work/gpt2/checkpoints" >>"$work/out" 2>&1 &&
        [ -s "$work/gpt2/model/model.safetensors" ]
    verdict $? "gpt2.mk RANKS=$RANKS, from text to a merged model: $(sed -n 's/.*\(validation loss [0-9.]*\).*/\1/p' "$work/out" | tail -1)"
}

# The configuration that DeepSpeed's users have, as it is, but for where the data lies.
part_seed() {
    make_text
    rm -rf "$work/run"
    "$MPIRUN" -n "$RANKS" --bind-to none lt-train tests/data/config/seed.yaml --device="$device" \
        --data.train="$work/gpt2/data/train.manifest" --checkpoint.dir="$work/run/ck" \
        --logging.dir="$work/run/logs" --logging.every_steps=5 >"$work/out" 2>&1 </dev/null &
    job=$!
    until_logged 20 && grep -q '"step":20,.*"skipped_steps":0' "$work/run/logs/metrics.jsonl"
    verdict $? "the seed's configuration, 20 steps: $(sed -n 's/.*step 20\/[0-9]*  //p' "$work/out")"
    kill $job
    wait $job
    job=
    freed "ended by mpirun"
}

part_kill() {
    for n in 1 2; do
        DEVICE=$device RANKS=$RANKS sh tests/kill_resume.sh 3 $n >"$work/out" 2>&1
        verdict $? "kills of ranks: $(tail -1 "$work/out")"
    done
    freed "ranks killed"
}

part_big() {
    make_text
    rm -rf "$work/run"
    cat >"$work/big.yaml" <<END
model: { name: gpt2-xl, n_layer: 42, n_embd: 5120, n_head: 40, precision: bf16 }
training: { steps: 1000, batch_size: 1, lr: 1.0e-5, hang_timeout: 300 }
deepspeed: { zero_optimization: { stage: 3, offload_optimizer: { device: cpu } } }
data: { train: $work/gpt2/data/train.manifest, seq_len: 1024 }
checkpoint: { dir: $work/run/ck, async: false, every_steps: 0 }
logging: { dir: $work/run/logs, every_steps: 1 }
device: $device
END
    "$MPIRUN" -n "$RANKS" --bind-to none lt-train "$work/big.yaml" >"$work/out" 2>&1 </dev/null &
    job=$!
    until_logged 2
    verdict $? "13.5 G parameters, stage 3, optimizer in host memory: $(gpu_memory) MiB on all GPUs; $(sed -n 's/.*step 2\/[0-9]*  //p' "$work/out")"
    kill $job # which kills after two seconds: a checkpoint would not fit on most disks
    wait $job
    job=
    freed "ended by mpirun"
}

write_small
[ $# -gt 0 ] || set -- golden comm stages resume pipeline seed kill
for part; do
    case $part in
    golden | comm | stages | resume | pipeline | seed | kill | big) ;;
    *)
        echo "check_gpus.sh: expected golden, comm, stages, resume, pipeline, seed, kill or big, found $part" >&2
        exit 2
        ;;
    esac
    began=$(date +%s)
    part_$part
    echo "--- $part took $(($(date +%s) - began)) s"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
