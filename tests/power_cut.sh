#!/bin/sh
# Cuts the power: a saver commits checkpoint after checkpoint on a file system in an image file; at N
# random moments it is stopped and the image copied as it is, without what the kernel still held back.
# The copy is mounted, so its journal is replayed, and must hold a whole checkpoint, none older than
# the last one the saver had said was committed.
#   PATH=build/release/bin:$PATH sh tests/power_cut.sh [N [SEED]]    default 20 cuts, seed from the clock
# At the end the same saver runs with its syncs taken away (under strace): losing a checkpoint then
# shows that the test would notice.  Exit 77: no root, no loop devices or no ext4 here.
set -u
cuts=${1:-20}
seed=${2:-$(date +%s)}
tool=$(cd "$(dirname "$(command -v lt-ckpt-merge)")/.." && pwd)/tests/ckpt/tool_save_ranks
rows=${ROWS:-400} # a checkpoint of about 1 MB
# The image lies in memory, so that a copy takes a moment and syncs cost no disk.
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
work=$(mktemp -d) || exit 1
saver=
clean() {
    [ -z "$saver" ] || { kill -CONT "$saver"; kill -9 "$saver"; wait "$saver"; } 2>/dev/null
    umount "$work/copy" 2>/dev/null
    umount "$work/disk" 2>/dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

skip() {
    echo "power_cut: skipped: $*" >&2
    exit 77
}
die() {
    echo "power_cut: cut $cut: $* (seed $seed)" >&2
    exit 1
}

# draw N: a number below N into $drawn (Lehmer's generator)
state=$((seed % 2147483646 + 1))
draw() {
    state=$((state * 48271 % 2147483647))
    drawn=$((state % $1))
}

# noauto_da_alloc: ext4 does not sync behind the back of those who rename without it.
attach() { # IMAGE FOLDER
    mount -t ext4 -o loop,noauto_da_alloc "$1" "$2" 2>mount.err
}

fresh_disk() {
    rm -f disk.img
    truncate -s 64M disk.img && mkfs.ext4 -q -F -m 0 disk.img 2>mount.err && attach disk.img disk
}

# start [COMMAND...]: a saver on a fresh disk, which says in `committed` what it has committed
start() {
    fresh_disk || die "cannot mount the image: $(cat mount.err)"
    device=$(basename "$(findmnt -n -o SOURCE disk)")
    : >committed
    "$@" "$tool" loop disk/ck "$rows" >committed 2>saver.err &
    saver=$!
    while [ ! -s committed ]; do
        kill -0 $saver 2>/dev/null || die "the saver failed: $(cat saver.err)"
        sleep 0.01
    done
}

stop_saver() {
    kill -9 $saver
    wait $saver 2>/dev/null
    saver=
    umount disk
}

written() { # requests that the device has done and those under way
    awk '{ print $5, $9 }' "/sys/block/$device/stat"
}

# Copies the image while nothing reaches it, so that the copy is one instant.
copy_disk() {
    while :; do
        before=$(written)
        rm -f copy.img # a new file: the loop device of the last copy may still be going away
        cp disk.img copy.img
        [ "$before" != "$(written)" ] || [ "${before#* }" != 0 ] || return 0
    done
}

# One cut of the running saver.  $found: the step the copy holds, "" for none; $last: the last committed.
cut_power() {
    draw 150
    sleep "$(printf '0.%03d' "$drawn")"
    kill -STOP $saver || die "the saver has ended: $(cat saver.err)"
    copy_disk
    last=$(tail -n 1 committed)
    kill -CONT $saver
    attach copy.img copy || die "the copy does not mount: $(cat mount.err)"
    found=$("$tool" show copy/ck 2>show.err)
    unfinished=$((unfinished + $(ls -d copy/ck/*.tmp.* 2>/dev/null | wc -l)))
    if [ -n "$found" ]; then
        "$tool" sweep copy/ck && "$tool" save copy/ck 1000000 1 && [ "$("$tool" show copy/ck)" = "1000000 1" ] ||
            die "the next save failed"
    fi
    umount copy
}

cut=0
mkdir disk copy || exit 1
[ -x "$tool" ] || skip "$tool is not built"
[ "$(id -u)" = 0 ] || skip "only root may mount an image"
command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not installed"
fresh_disk || skip "cannot mount an image: $(cat mount.err)"
umount disk

echo "power_cut: seed $seed"
unfinished=0
start
while [ $cut -lt "$cuts" ]; do
    cut=$((cut + 1))
    cut_power
    [ -n "$found" ] || die "no checkpoint is found: $(cat show.err)"
    [ "${found% *}" -ge "$last" ] || die "step $last was committed, step ${found% *} is found"
done
steps=$last
stop_saver
control="not shown to notice (no strace)"
if command -v strace >/dev/null; then
    lost=0 cut=0
    start strace -D -f -qq -o /dev/null -e trace=fsync,sync_file_range -e inject=fsync,sync_file_range:retval=0
    while [ $cut -lt 5 ]; do
        cut=$((cut + 1))
        cut_power
        [ -n "$found" ] && [ "${found% *}" -ge "$last" ] || lost=$((lost + 1))
    done
    stop_saver
    [ $lost -gt 0 ] || die "5 cuts without any sync lost nothing: this test notices nothing"
    control="without syncs $lost of 5 lost one"
fi
echo "$cuts power cuts, $unfinished inside a save, $steps steps: every committed checkpoint is there; $control"
