#!/bin/sh
# Kills a rank of a two-rank save at every one of its system calls, and refuses every call that a disk
# can refuse: whatever happens, the old checkpoint or the new one is found whole, nothing else stays
# after a sweep, and the next save works.
#   PATH=build/release/bin:$PATH sh tests/kill_save.sh [all | N [SEED]]    default: about 40 cases
# The cases come from the log of an undisturbed save: "scenario rank call k fault" for the k-th time
# that one thread of the rank makes the call.  Scenarios: a new step that retires the old one, and a
# step that replaces the one of its name; both begin with the sweep of what a dead job left.  Exit 77: strace is missing or may not trace here.
set -u
wanted=${1:-40}
seed=${2:-0}
tool=$(cd "$(dirname "$(command -v lt-ckpt-merge)")/.." && pwd)/tests/ckpt/tool_save_ranks
# A kill leaves the page cache alone, so memory is as good as a disk, and its syncs are free.
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

skip() {
    echo "kill_save: skipped: $*" >&2
    exit 77
}
[ -x "$tool" ] || skip "$tool is not built"
command -v strace >/dev/null || skip "strace is not installed"

# save SCENARIO RANK STRACE-OPTION...: one save over a fresh old checkpoint; log, err, $status
save() {
    scenario=$1 rank=$2
    shift 2
    rm -rf ck log err
    cp -r old ck
    [ "$scenario" = new ] && step=2 || step=1
    timeout 60 "$tool" save ck $step 2 "$rank" strace -f -qq -o log "$@" 2>all
    status=$?
    grep -v '^strace: ' all >err # attaching makes it talk at times
}

die() {
    echo "kill_save: $case: $*" >&2
    echo "kill_save: exit $status, stderr: $(cat err)" >&2
    echo "kill_save: $(ls ck)" >&2
    exit 1
}

case="the undisturbed save"
"$tool" save old 1 1 || exit 1
mkdir old/step-00000009.tmp.deaddeaddeaddead old/trash.step-00000000 || exit 1
for f in MANIFEST.tmp.1 weights-00000.safetensors exp_avg-00000.safetensors.tmp.1; do
    echo dead >old/step-00000009.tmp.deaddeaddeaddead/$f
    echo dead >old/trash.step-00000000/$f
done
for s in new again; do
    for r in 0 1; do
        save $s $r
        [ $status -ne 77 ] || skip "strace cannot trace here"
        [ $status -eq 0 ] && [ "$("$tool" show ck)" = "$step 2" ] || die "failed"
        # How often each thread makes each call; the most of any thread.
        awk -v s=$s -v r=$r '
            $2 ~ /^[a-z0-9_]+\(/ { sub(/\(.*/, "", $2); if (++n[$1, $2] > most[$2]) most[$2] = n[$1, $2] }
            END {
                split("openat mkdir write pwrite64 fsync fdatasync sync_file_range fallocate ftruncate " \
                      "close rename renameat2 unlink unlinkat rmdir", names)
                for (i in names) can_fail[names[i]] = 1
                for (c in most) for (k = 1; k <= most[c]; k++) {
                    # The first read is the wait for strace.
                    if (c !~ /^exit/ && c " " k != "read 1") print s, r, c, k, "SIGKILL"
                    if (c in can_fail) { print s, r, c, k, "ENOSPC"; print s, r, c, k, "EIO"; print s, r, c, k, "EDQUOT" }
                }
            }' log | sort -k3,3 -k4,4n -k5,5 >>list
    done
done
[ "$wanted" != all ] || wanted=$(wc -l <list)
awk -v all="$(wc -l <list)" -v wanted="$wanted" -v seed="$seed" '
    int((NR - 1 + seed) * wanted / all) != int((NR + seed) * wanted / all)' list >cases

# What a restart finds: $found is the salt, 1 for the old checkpoint, 2 for the new one.
look() {
    found=$("$tool" show ck 2>show.err) || die "nothing usable is found: $(cat show.err)"
    case $scenario.$found in
        new."1 1" | again."1 1") found=1 ;;
        new."2 2" | again."1 2") found=2 ;;
        *) die "found step and salt $found" ;;
    esac
    [ "$scenario" = again ] || { [ -d ck/step-00000002 ] && [ $found = 2 ]; } ||
        { [ ! -d ck/step-00000002 ] && [ $found = 1 ]; } || die "a step was renamed, but $found is found"
}

dead='.*dead\|trash.step-00000000' # what lay there before the save
leftovers() { # beside PATTERN
    ls ck | grep -v -x -e 'step-[0-9]*' -e lock -e "${1:-lock}"
}

check_kill() {
    look
    [ "$rank" = 1 ] || [ ! -s err ] || grep -q 'rank 1' err || die "a killed rank 0 talks"
    if [ "$rank" = 1 ] && [ $found = 1 ]; then # rank 0 lives and cleans up
        [ "$(wc -l <err)" -eq 1 ] && grep -q 'error: rank 1 died in the save of step' err || die "no clear line"
        ! leftovers >/dev/null || die "left: $(leftovers)"
    fi
}

check_error() {
    look
    if [ $status -eq 0 ]; then
        [ $found = 2 ] || die "success, but the old checkpoint is found"
    else
        [ $status -eq 1 ] || die "status"
        [ "$(grep -c ' error: ' err)" -eq 1 ] && [ "$(wc -l <err)" -le 2 ] || die "no clear line"
    fi
    # A folder that could not be retired or removed is talked about, and the next sweep takes it; one
    # that was replaced stays while the rename may not have reached the disk.
    ! leftovers "$dead" >/dev/null || grep -q 'cannot retire\|by hand\|may not survive a power cut' err || die "left: $(leftovers)"
    [ $status -ne 0 ] || ! leftovers | grep -x "$dead" || die "a sweep that failed was passed over"
}

kills=0 errors=0 failed=0 missed=0
while read -r s r call k fault; do
    case="$s rank $r $call $k $fault"
    if [ "$fault" = SIGKILL ]; then
        save "$s" "$r" -e "trace=$call" -e "inject=$call:signal=SIGKILL:when=$k"
    else
        save "$s" "$r" -e "trace=$call" -e "inject=$call:error=$fault:when=$k"
    fi
    if ! grep -q 'INJECTED\|killed by SIGKILL' log; then # two threads share their calls out by chance
        missed=$((missed + 1))
        [ $status -eq 0 ] || die "failed without a fault"
        continue
    fi
    if [ "$fault" = SIGKILL ]; then
        check_kill
        kills=$((kills + 1))
    else
        check_error
        errors=$((errors + 1))
        failed=$((failed + (status != 0)))
    fi
    before=$found
    "$tool" sweep ck || die "the sweep failed"
    ! leftovers >/dev/null || die "the sweep left $(leftovers)"
    look
    [ "$found" = "$before" ] || die "the sweep changed what is found"
    "$tool" save ck 3 3 || die "the next save failed"
    [ "$("$tool" show ck)" = "3 3" ] || die "the next save is not found"
    [ "$(ls ck | tr '\n' ' ')" = "lock step-00000003 " ] || die "after the next save there is $(ls ck)"
done <cases
[ $((missed * 20)) -le $((kills + errors)) ] || die "$missed faults did not happen"
echo "$kills kills and $errors refused calls of $(wc -l <list) possible; $failed of the refused saves failed, none of them lost a checkpoint"
