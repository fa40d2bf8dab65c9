#!/bin/sh
# Runs unit tests and bats files, prints what failed and what was skipped and why, ends with
# "N passed, N failed, N skipped".
#   run_tests.sh TEST...          binaries, then the programs $B/tests/*/ranks_* under mpirun with 1
#                                 to 4 ranks, then every tests/cli/*.bats with $B/bin on the PATH
#   run_tests.sh --units FOLDER   only the test binaries below FOLDER/tests
#   run_tests.sh --ranks          only the programs under mpirun
# MPIRUN: the mpirun of the MPI that $B was built with; empty: it was built without
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build/release}
MPIRUN=${MPIRUN-mpirun}
PATH="$PWD/$B/bin:$PATH"
export PATH B MPIRUN
# Open MPI's hwloc would look for X displays at localhost, which a bare machine asks of the network.
export HWLOC_COMPONENTS="${HWLOC_COMPONENTS:--gl}"
LIMIT=${LIMIT:-600} # seconds for one program, one bats file
log=$(mktemp) && out=$(mktemp) || exit 1
trap 'rm -f "$log" "$out"' EXIT

# judge STATUS WHAT: puts $out into the log; with one failure more where the program ended badly without
# naming one, or before it had run all the tests of its plan, "1..N"
judge()
{
    verdict=$(awk -v status="$1" -v what="$2" '
        /^1\.\.[1-9]/ && !planned { planned = substr($1, 4) + 0 }
        /^(not )?ok / { n++ }
        /^not ok/ { failed = 1 }
        END {
            if (status == 124) print "not ok - " what " took too long and was stopped"
            else if (status > 1 || (status && !failed)) print "not ok - " what " ended with status " status
            else if (!planned) print "not ok - " what " ended without a plan, after " n + 0 " tests"
            else if (n < planned) print "not ok - " what ": expected " planned " tests, found " n + 0
        }' "$out")
    [ -z "$verdict" ] || echo "$verdict" >>"$out"
    if grep -q '^not ok' "$out"; then
        echo "--- $2"
        grep -v '^ok ' "$out"
    fi
    cat "$out" >>"$log"
}

units=1 ranks=1 cli=1
if [ "${1:-}" = --units ]; then
    ranks=0 cli=0
    set -- $(find "$2/tests" -type f -name 'test_*' ! -name '*.o' ! -name '*.d' | sort)
elif [ "${1:-}" = --ranks ]; then
    units=0 cli=0
fi
for t in "$@"; do
    [ $units = 1 ] || break
    timeout --foreground -k 5 $LIMIT "$t" >"$out" 2>&1
    judge $? "$t"
done

# run_ranks N COMMAND...: the command under mpirun; more ranks than cores and root are fine here
run_ranks()
{
    n=$1
    shift
    if "$MPIRUN" --version 2>/dev/null | grep -q 'Open MPI'; then
        OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
            timeout -k 5 120 "$MPIRUN" --oversubscribe -n "$n" "$@" </dev/null
    else
        timeout -k 5 120 "$MPIRUN" -n "$n" "$@" </dev/null
    fi
}
if [ $ranks = 1 ]; then
    for t in $(find "$B/tests" -type f -name 'ranks_*' ! -name '*.[od]' | sort); do
        why=
        [ -n "$MPIRUN" ] || why="built without MPI"
        [ -n "$why" ] || command -v "$MPIRUN" >/dev/null || why="no $MPIRUN on this machine"
        if [ -n "$why" ]; then
            echo "ok 1 - $(basename "$t") # skip $why" >>"$log"
            continue
        fi
        for n in 1 2 3 4; do
            run_ranks $n "$t" >"$out" 2>&1
            judge $? "$t, $n ranks"
        done
    done
fi
if [ $cli = 1 ] && ls tests/cli/*.bats >/dev/null 2>&1; then
    for f in ${BATS_FILES:-tests/cli/*.bats}; do
        timeout --foreground -k 5 $LIMIT bats --tap "$f" >"$out" 2>&1
        judge $? "$f"
    done
fi
failed=$(grep -c '^not ok' "$log")
skipped=$(grep -ci '^ok .*# skip' "$log")
passed=$(($(grep -c '^ok ' "$log") - skipped))
sed -nE 's/^ok [0-9]+ (- )?(.*) # skip */skipped: \2: /Ip' "$log" | sort | uniq -c
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
