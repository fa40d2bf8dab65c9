#!/usr/bin/env bats
# A save of two ranks that is killed, refused or loses its power: the whole sweeps are
# tests/kill_save.sh all and tests/power_cut.sh 200 (make check-long), here a sample of each.

sample() { # SCRIPT N
    run sh "$BATS_TEST_DIRNAME/../$1" "$2"
    echo "$output"
    [ "$status" -ne 77 ] || skip "${output##*skipped: }"
    [ "$status" -eq 0 ]
}

@test "kill_save: killed or refused at any call, a save leaves the old checkpoint or the new one" {
    sample kill_save.sh 40
    [[ "$output" =~ ([0-9]+)" kills and "([0-9]+)" refused calls of "([0-9]+)" possible" ]]
    [ $((BASH_REMATCH[1] + BASH_REMATCH[2])) -ge 38 ]
    [ "${BASH_REMATCH[3]}" -ge 1000 ]
}

@test "power_cut: a disk that stops at any moment holds the last checkpoint that was committed" {
    sample power_cut.sh 20
    [[ "$output" == *"20 power cuts, "* ]]
}
