#!/bin/sh
# Runs every fuzz target for a while, two at a time.
#   run_fuzz.sh FOLDER SECONDS    targets: FOLDER/fuzz/fuzz_NAME; 0 seconds: the seeds once
# Seeds come from tests/fuzz/corpus/NAME and are never changed: the target works on a scratch copy.
# One line a target; an input that breaks one is kept as build/fuzz/findings/NAME-*.
# Ends with "N passed, N failed"; exit 1 if any failed.
set -u
if [ $# -ne 2 ] || ! [ "$2" -ge 0 ] 2>/dev/null; then
    echo "usage: run_fuzz.sh FOLDER SECONDS" >&2
    exit 2
fi
folder=$(cd "$1" && pwd) || exit 2
seconds=$2
cd "$(dirname "$0")/.." || exit 2
findings=build/fuzz/findings
mkdir -p "$findings"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# fuzz_one TARGET: leaves one line in $work/NAME.line, first word "ok" or "failed"
fuzz_one()
{
    name=${1##*/fuzz_}
    log=$work/$name.log
    seeds=$work/$name.seeds
    mkdir "$seeds"
    [ ! -d "tests/fuzz/corpus/$name" ] || cp -r "tests/fuzz/corpus/$name/." "$seeds"
    how=-max_total_time=$seconds
    [ "$seconds" -gt 0 ] || how=-runs=0
    "$1" "$how" -rss_limit_mb=512 -timeout=5 -print_final_stats=1 \
        "-artifact_prefix=$findings/$name-" "$seeds" >"$log" 2>&1
    rc=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $rc -eq 0 ]; then
        echo "ok $name: ${runs:-0} executions, no finding" >"$work/$name.line"
        return
    fi
    found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    if [ -z "$found" ]; then # it died before libFuzzer could write: keep what it said
        found=$findings/$name-log
        cp "$log" "$found"
    fi
    why=$(grep -m 1 -E '^(SUMMARY|==[0-9]+==ERROR)|runtime error|libFuzzer: ' "$log")
    echo "failed $name: $found (status $rc${why:+; $why})" >"$work/$name.line"
}

# Two runners take every second target.
runner()
{
    turn=0
    for t in "$folder"/fuzz/fuzz_*; do
        if [ ! -f "$t" ] || [ ! -x "$t" ]; then
            continue
        fi
        [ $((turn % 2)) -ne "$1" ] || fuzz_one "$t"
        turn=$((turn + 1))
    done
}
runner 0 &
runner 1
wait

passed=0 failed=0
for line in "$work"/*.line; do
    [ -f "$line" ] || continue
    read -r verdict words <"$line"
    echo "$words"
    if [ "$verdict" = ok ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
