#!/bin/sh
# What saving in the background costs: GPT-2 trained with a checkpoint every 50 steps against no
# checkpoint, in turn, and the median throughput of each.
#   PATH=build/release/bin:$PATH sh tests/async_cost.sh [PAIRS [STEPS [OPTION...]]]    default 3 60
# OPTION goes to lt-train: --model.n_layer=2 for a quick look.  The machine should be quiet, and the disk
# have room for three checkpoints (1.5 GB each for 124M).  Throughput is STEPS over the wall time from
# the end of the first step to the end of the last; a save that is still being written then is waited
# for before the clock stops, and is counted whole although half of it falls behind step 50 of 60.
# Ends with status 1 when saving costs 3 % or more.
set -eu
pairs=${1:-3} steps=${2:-60}
[ $# -lt 2 ] || shift
[ $# -lt 1 ] || shift
data=$(cd "$(dirname "$0")/data/train" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"

cat >run.yaml <<END
model: { name: gpt2 }
training: { steps: $steps, batch_size: 4, gradient_accumulation_steps: 1, lr: 1.0e-4, warmup_steps: 5,
            eval_every_steps: 0 }
data: { train: $data/train.manifest, seq_len: 64 }
checkpoint: { keep_last: 1 }
logging: { every_steps: 1000, tensorboard: false }
device: cpu
threads: 2
END

# run NAME EVERY_STEPS OPTION...: appends steps per second to NAME.rates
run() {
    name=$1 every=$2
    shift 2
    rm -rf ck logs
    lt-train run.yaml --checkpoint.every_steps="$every" "$@" 2>err || { cat err >&2; exit 1; }
    jq -rs 'map(select(.loss)) | (length - 1) / (last.time - first.time)' logs/metrics.jsonl >>"$name.rates"
    tail -n 1 "$name.rates" | sed "s/^/$name: /; s/\$/ steps per second/"
    grep 'saved ' err || true
}

median() {
    sort -g "$1" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
