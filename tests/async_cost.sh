#!/bin/sh
# What saving in the background costs: GPT-2 124M trained with a checkpoint every 50 steps and without,
# in turn, and the median of each.
#   PATH=build/release/bin:$PATH sh tests/async_cost.sh [PAIRS [STEPS [OPTION...]]]    default 3 60
# OPTION goes to lt-train: --model.n_layer=2 for a quick look.  The machine should be quiet, and the
# disk have room for two checkpoints (1.5 GB each).  Time is from the end of step 1 to the end of the
# last step, and what the saves added to it is set against 50 steps for each save; the last
# checkpoint, which both kinds write, comes after.  Status 1 when saving costs 3 % or more.
set -eu
pairs=${1:-3} steps=${2:-60}
shift $(($# < 2 ? $# : 2))
[ "$steps" -gt 52 ] || { echo "async_cost: no save ends within $steps steps" >&2; exit 2; }
data=$(cd "$(dirname "$0")/data/train" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/async_cost.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"

cat >run.yaml <<END
model: { name: gpt2 }
training: { steps: $steps, batch_size: 4, lr: 1.0e-4, warmup_steps: 5, eval_every_steps: 0 }
data: { train: $data/train.manifest, seq_len: 64 }
checkpoint: { keep_last: 1 }
logging: { every_steps: 1000, tensorboard: false }
device: cpu
threads: 2
END

# run NAME EVERY_STEPS OPTION...: appends the seconds to NAME
run() {
    name=$1 every=$2
    shift 2
    rm -rf checkpoints logs
    lt-train run.yaml --checkpoint.every_steps="$every" "$@" 2>err || { cat err >&2; exit 1; }
    jq -rs 'map(select(.loss)) | last.time - first.time' logs/metrics.jsonl >>"$name"
    echo "$name: $(tail -n 1 "$name") s"
    sed -n '/saved /s/^.*step-/    step-/p' err
}

median() {
    sort -g "$1" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

i=0
while [ $i -lt "$pairs" ]; do
    run saving 50 "$@"
    run plain 0 "$@"
    i=$((i + 1))
done
awk -v saving="$(median saving)" -v plain="$(median plain)" -v steps="$steps" 'BEGIN {
    saves = int((steps - 1) / 50)
    step = plain / (steps - 1)
    cost = 100 * (saving - plain) / saves / (50 * step)
    printf "%.4g tokens/s without saving, %.4g with; every 50 steps a save costs %.2f %%\n",
        256 / step, 256 * (steps - 1) / saving, cost
    exit cost >= 3
}'
