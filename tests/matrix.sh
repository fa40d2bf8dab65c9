#!/bin/sh
# The equivalence matrix in full, on 1 to 4 ranks, written down as docs/equivalence.md.
#   make ranks && sh tests/matrix.sh          B: build folder; MPIRUN: the mpirun it was built with
# The cases and their bounds are in tests/train/ranks_matrix.c; a case that fails fails this script,
# and the page stays as it was.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build/release}
MPIRUN=${MPIRUN:-mpirun}
page=docs/equivalence.md
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

options=
if "$MPIRUN" --version 2>/dev/null | grep -q 'Open MPI'; then
    options=--oversubscribe
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
for n in 1 2 3 4; do
    if ! LT_LONG=1 timeout -k 5 1800 "$MPIRUN" $options -n $n "$B/tests/train/ranks_matrix" \
        >"$work/$n" 2>&1 </dev/null; then
        echo "matrix: $n ranks failed:" >&2
        grep -v '^# |' "$work/$n" >&2
        exit 1
    fi
done

table() { # TYPE: its rows of all ranks
    echo '| ranks | micro-batches | stage | cases | step 1 | all steps | bits |'
    echo '|---|---|---|---|---|---|---|'
    sed -n "s/^# | $1 |/|/p" "$work/1" "$work/2" "$work/3" "$work/4"
}

cat >"$work/page" <<END
# Equivalence

What a run computes does not depend on how it is spread. \`sh tests/matrix.sh\` writes this page from
the runs of \`tests/train/ranks_matrix.c\` on CPU ranks over MPI: a GPT-2 of 2 layers and width 48, 20
steps of 48 sequences of 32 tokens, some targets not counted so that ranks count differently.
\`make check\` runs a sample of the same cases, \`make check-long\` all of them.

A row is one stage on so many ranks with so many micro-batches a step. Its cases are every combination
of \`offload_optimizer\` (none, cpu, nvme), \`offload_param\` (none, cpu, nvme; stage 3),
\`overlap_comm\` (on, off) and recomputation (none, block); in 16-bit types the first and the last of
these combinations. *Step 1* and *all steps* are the largest relative deviations of the loss from the
run of one rank, one micro-batch, stage 0, fp32. *Bits*: "one set" means that losses, gradient norms,
weights and moments of all cases of the row are the same bits; "that of stage 0" that they are those
of the row named, on the same ranks with the same micro-batches.

In every case \`lt_engine_plan\` (the arithmetic of \`--plan\`) named the bytes that rank 0 took.

## fp32

Bounds: 1e-6 at step 1, 1e-5 at every step.

$(table fp32)

## bf16

Bound: 1e-2.

$(table bf16)

## fp16

Bound: 1e-2.

$(table fp16)
END
cmp -s "$work/page" $page || cp "$work/page" $page
echo "$page: $(grep -hc '^# |' "$work"/[1-4] | awk "{ n += \$1 } END { print n }") rows, $(sed -n 's/^# |[^|]*|[^|]*|[^|]*|[^|]*| \([0-9]*\) |.*/\1/p' "$work"/[1-4] | awk "{ n += \$1 } END { print n }") cases, none beyond its bounds"
