#!/bin/sh
# Runs the operation tests and the reference model on the GPU, ends with "N passed, N failed".
# Called by `make check-gpu` with the build folder in B.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build/release}
LT_TEST_DEVICE=cuda
export LT_TEST_DEVICE
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
passed=0 failed=0

for t in "$B"/tests/device/test_device "$B"/tests/device/test_ops "$B"/tests/device/test_ops_* \
    "$B"/tests/device/test_matmul "$B"/tests/model/test_tape "$B"/tests/comm/test_comm_nccl; do
    case $t in *.o | *.d | *'*') continue ;; esac
    [ -x "$t" ] || continue
    "$t" >"$out" 2>&1
    rc=$?
    [ $rc -eq 0 ] || grep -q '^not ok' "$out" || echo "not ok - $t ended with status $rc" >>"$out"
    grep -q '^1\.\.[1-9]' "$out" || echo "not ok - $t did not come to its end" >>"$out"
    if grep -q '^not ok' "$out"; then
        echo "--- $t"
        grep -v '^ok ' "$out"
    fi
    grep '^ok .* # SKIP' "$out" | sed 's/^ok/skipped:/'
    passed=$((passed + $(grep '^ok ' "$out" | grep -vc ' # SKIP ')))
    failed=$((failed + $(grep -c '^not ok' "$out")))
done

if [ -x "$B/bin/lt-bench" ] && [ -d tests/data/golden/gpt2 ]; then
    for precision in fp32 bf16 fp16; do
        echo "--- lt-bench golden --device=cuda --precision=$precision tests/data/golden/gpt2"
        if "$B/bin/lt-bench" golden --device=cuda --precision=$precision tests/data/golden/gpt2; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
