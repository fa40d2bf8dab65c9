#!/bin/sh
# Runs unit tests and bats files, prints what failed, ends with "N passed, N failed, N skipped".
#   run_tests.sh TEST...          binaries, then every tests/cli/*.bats with $B/bin on the PATH
#   run_tests.sh --units FOLDER   only the test binaries below FOLDER/tests
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build/release}
PATH="$PWD/$B/bin:$PATH"
export PATH
log=$(mktemp) && out=$(mktemp) || exit 1
trap 'rm -f "$log" "$out"' EXIT

units=1 cli=1
if [ "${1:-}" = --units ]; then
    cli=0
    set -- $(find "$2/tests" -type f -name 'test_*' ! -name '*.o' ! -name '*.d' | sort)
fi
for t in "$@"; do
    [ $units = 1 ] || break
    "$t" >"$out" 2>&1
    rc=$?
    [ $rc -le 1 ] || echo "not ok - $t died with status $rc" >>"$out"
    if [ $rc -ne 0 ]; then
        echo "--- $t"
        grep -v '^ok ' "$out"
    fi
    cat "$out" >>"$log"
done
if [ $cli = 1 ] && ls tests/cli/*.bats >/dev/null 2>&1; then
    for f in ${BATS_FILES:-tests/cli/*.bats}; do
        bats --tap "$f" >"$out" 2>&1 || { echo "--- $f"; grep -v '^ok ' "$out"; }
        cat "$out" >>"$log"
    done
fi
failed=$(grep -c '^not ok' "$log")
skipped=$(grep -ci '^ok .*# skip' "$log")
passed=$(($(grep -c '^ok ' "$log") - skipped))
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
