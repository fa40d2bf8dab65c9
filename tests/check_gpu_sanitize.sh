#!/bin/sh
# Runs the operation tests under NVIDIA's compute-sanitizer on this GPU, ends with "N passed, N failed".
#   check_gpu_sanitize.sh [TOOL...]   memcheck: addresses, racecheck: shared memory, initcheck: reads of
#                               what nobody wrote; all three without arguments
# Called by `make check-gpu-sanitize` with the build folder in B.  cuBLAS and cuDNN are hidden behind
# empty files, so that every kernel that runs is ours; the one that follows the library's products is
# looked at by name.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build/release}
LIMIT=${LIMIT:-120} # seconds for one program under one tool
command -v compute-sanitizer >/dev/null || {
    echo "check_gpu_sanitize.sh: expected compute-sanitizer of the CUDA toolkit on the PATH, found none" >&2
    exit 1
}
hidden=$(mktemp -d) && out=$(mktemp) || exit 1
trap 'rm -rf "$hidden" "$out"' EXIT
for library in libcublasLt.so.13 libcublasLt.so.12 libcublasLt.so libcudnn.so.9; do
    : >"$hidden/$library"
done
LT_TEST_DEVICE=cuda
export LT_TEST_DEVICE
passed=0 failed=0

check() { # TOOL PROGRAM ARGUMENT...: the tool's own options come from $options
    tool=$1 program=$2 began=$(date +%s)
    shift 2
    # shellcheck disable=SC2086
    timeout "$LIMIT" compute-sanitizer --tool "$tool" --error-exitcode 99 $options \
        "$B/tests/device/$program" "$@" >"$out" 2>&1
    rc=$?
    what="$tool $program $* ($(($(date +%s) - began)) s)"
    if [ $rc -eq 0 ] && grep -q '^ok ' "$out"; then
        passed=$((passed + 1))
        echo "ok $what"
    else
        failed=$((failed + 1))
        echo "not ok $what: status $rc"
        grep -v '^ok ' "$out" | head -40
    fi
}

[ $# -gt 0 ] || set -- memcheck racecheck initcheck
for tool; do
    export LD_LIBRARY_PATH="$hidden:${LD_LIBRARY_PATH-}"
    options='' few=''
    [ "$tool" != racecheck ] || few='--launch-count 8' # each takes it seconds
    for program in test_ops test_ops_norm test_ops_step; do
        check "$tool" $program
    done
    check "$tool" test_ops_matmul matmul_adds_what matmul_gives
    options="$few --kernel-name kns=loss_kernel"
    check "$tool" test_ops_head
    options="$few --kernel-name kns=attention_kernel --kernel-name kns=delta_kernel \
        --kernel-name kns=dq_kernel --kernel-name kns=dkdv_kernel"
    check "$tool" test_ops_attention
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH#*:}
    options="--kernel-name kns=slope_kernel"
    check "$tool" test_ops_matmul matmul_ends_with_the_slope
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
