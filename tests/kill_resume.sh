#!/bin/sh
# Pulls the plug: kills a training run with SIGKILL at N random moments, starts the same command again
# each time, and compares with a run that nobody disturbed: every step's loss and the merged weights
# must be the same bytes.
#   PATH=build/release/bin:$PATH sh tests/kill_resume.sh [N [SEED]]     default 50 kills, seed from the clock
# RANKS=2 (or more): on so many ranks at ZeRO stage 2 under $MPIRUN.  A kill then takes one rank, any of
# them, or every process of the job at once; whatever is left must be gone within 10 s.
# DEVICE=cuda: on GPUs, one for each rank.
# Half of the kills wait for the folder of an unfinished save to appear; a kill counts as inside a save
# when that folder is there.  Fewer than 30 % of those fail the test, like any difference.
set -u
kills=${1:-50}
seed=${2:-$(date +%s)}
ranks=${RANKS:-1}
mpirun=${MPIRUN:-mpirun}
device=${DEVICE:-cpu}
data=$(cd "$(dirname "$0")/data/train" && pwd) || exit 1
work=$(mktemp -d) || exit 1
run=

family() { # PID: it and all that descend from it
    ps -A -o pid=,ppid= | awk -v root="$1" '{ parent[$1] = $2 } END {
        for (p in parent) {
            for (q = p; q in parent && q != root;) q = parent[q]
            if (q == root && q in parent) print p
        }
    }'
}

clean_up() {
    # shellcheck disable=SC2046
    [ -z "$run" ] || kill -9 $(family "$run") 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

die() {
    echo "kill_resume: $* (seed $seed)" >&2
    exit 1
}

# draw N: a number below N into $drawn (Lehmer's generator, so a seed gives the same choices anywhere)
state=$((seed % 2147483646 + 1))
draw() {
    state=$((state * 48271 % 2147483647))
    drawn=$((state % $1))
}

launch= stage=0 steps=$((kills * 20 + 40)) patience=120
if [ "$ranks" -gt 1 ]; then
    launch="$mpirun -n $ranks" stage=2 steps=$((kills * 50 + 100)) patience=900
    if "$mpirun" --version 2>/dev/null | grep -q 'Open MPI'; then
        launch="$mpirun --oversubscribe -n $ranks"
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
fi
# GPU ranks take seconds to begin, and then little time for a step.
[ "$device" = cpu ] || steps=$((kills * 500 + 500)) patience=4000

cat >run.yaml <<END
model: { name: gpt2, vocab_size: 280, n_positions: 32, n_layer: 3, n_head: 4, n_embd: 64 }
training: { steps: $steps, batch_size: 2, gradient_accumulation_steps: 2, lr: 1.0e-3, warmup_steps: 20,
            eval_every_steps: 50, eval_batches: 2 }
deepspeed: { zero_optimization: { stage: $stage } }
data: { train: $data/train.manifest, val: $data/val.manifest }
checkpoint: { every_steps: 4, keep_last: 2 }
logging: { every_steps: 1000 }
END

train() { # DIR
    # shellcheck disable=SC2086
    exec $launch lt-train run.yaml --checkpoint.dir="$1/ck" --logging.dir="$1/logs" --device="$device" \
        --threads=1 -q 2>>"$1.err" </dev/null
}

unfinished() { # an unfinished save is there
    set -- disturbed/ck/step-*.tmp.*
    [ -e "$1" ]
}

alive() {
    kill -0 "$run" 2>/dev/null
}

# Waits for the n-th save to begin and then for a moment within it.
wait_for_save() {
    draw 3
    saves=$((drawn + 1))
    while [ $saves -gt 0 ]; do
        while ! unfinished; do alive || return; done
        saves=$((saves - 1))
        [ $saves -eq 0 ] || while unfinished; do alive || return; done
    done
    draw 6000
    while [ $drawn -gt 0 ]; do drawn=$((drawn - 1)); done
}

wait_a_while() {
    draw $patience
    sleep "$((drawn / 1000)).$(printf '%03d' $((drawn % 1000)))"
}

# The ranks of the job: each an lt-train whose parent, its supervisor, is one too.
list_ranks() {
    job=$(family "$run") rank_pids= n_ranks=0
    [ -n "$job" ] || return
    # shellcheck disable=SC2086
    set -- $(ps -o pid=,ppid=,comm= -p "$(echo $job | tr ' ' ,)" | awk '
        $3 == "lt-train" { parent[$1] = $2 }
        END { for (p in parent) if (parent[p] in parent) print p }' | sort -n)
    rank_pids=$*
    n_ranks=$#
}

# Whom the next kill takes, into $victims: of many ranks one, or the whole job; the whole job where it
# has no ranks yet.
choose_victims() {
    job=$run victims=$run
    [ "$ranks" -gt 1 ] || return
    list_ranks
    draw $((ranks + 1))
    victims=$job
    # shellcheck disable=SC2086
    set -- $rank_pids
    [ $# -le "$drawn" ] || shift "$drawn"
    [ $n_ranks -le "$drawn" ] || victims=$1
}

wait_for_ranks() {
    n_ranks=$ranks
    [ "$ranks" -eq 1 ] || n_ranks=0
    while [ $n_ranks -lt "$ranks" ] && alive; do list_ranks; done
}

echo "kill_resume: seed $seed"
(train quiet) || die "the undisturbed run failed: $(tail -1 quiet.err)"

done_kills=0 inside=0 alone=0
while [ $done_kills -lt "$kills" ]; do
    (train disturbed) &
    run=$!
    draw 2
    if [ "$drawn" -eq 0 ]; then
        wait_for_ranks
        choose_victims
        wait_for_save
    else
        wait_a_while
        choose_victims
    fi
    saving=0
    ! unfinished || saving=1
    # shellcheck disable=SC2086
    kill -9 $victims 2>/dev/null
    killed=$?
    wait $run 2>/dev/null
    status=$?
    run=
    [ $status -ne 0 ] || die "the run ended after $done_kills kills: too few steps for this machine"
    [ $status -eq 137 ] || { [ "$ranks" -gt 1 ] && [ $killed -eq 0 ]; } ||
        die "a run that was started again failed with $status: $(tail -1 disturbed.err)"
    tries=0
    for p in $job; do
        while kill -0 "$p" 2>/dev/null; do
            tries=$((tries + 1))
            [ $tries -lt 100 ] || die "10 s after the kill of $victims process $p is left: $(ps -o comm= -p "$p")"
            sleep 0.1
        done
    done
    done_kills=$((done_kills + 1))
    ! unfinished || saving=1
    inside=$((inside + saving))
    [ "$victims" = "$job" ] || alone=$((alone + 1))
done
(train disturbed) || die "the last run failed: $(tail -1 disturbed.err)"

losses() { # step and every bit of its losses
    sed -n 's/^{"step":\([0-9]*\),.*"loss":\([^,]*\),.*"loss_hex":"\([^"]*\)".*/\1 \2 \3/p' "$1/logs/metrics.jsonl"
    sed -n 's/^{"step":\([0-9]*\),.*"val_loss":\([^,]*\),.*/val \1 \2/p' "$1/logs/metrics.jsonl"
}
for d in quiet disturbed; do
    losses $d >$d.losses
    lt-ckpt-merge $d/ck -o $d/model >/dev/null 2>>$d.err || die "merging $d failed: $(tail -1 $d.err)"
done
[ "$(grep -c '^[0-9]' quiet.losses)" -eq $steps ] || die "the undisturbed run logged $(grep -c '^[0-9]' quiet.losses) of $steps steps"
cmp quiet.losses disturbed.losses >&2 || die "the losses differ: $(diff quiet.losses disturbed.losses | sed -n 2p)"
[ "$(sha256sum <quiet/model/model.safetensors)" = "$(sha256sum <disturbed/model/model.safetensors)" ] ||
    die "the merged weights differ"
! unfinished || die "an unfinished save was left behind"
[ $((inside * 10)) -ge $((kills * 3)) ] || die "only $inside of $kills kills fell inside a save"
among=
[ "$ranks" -eq 1 ] || among=" on $ranks ranks, $alone of one rank alone"
echo "$kills kills$among, $inside inside a save, $steps steps: identical"
