#!/usr/bin/env bats
# Pull the plug at any moment: the whole test is tests/kill_resume.sh, here with few kills.

@test "resume: killed again and again, a run ends with the bytes of an undisturbed one" {
    run sh "$BATS_TEST_DIRNAME/../kill_resume.sh" 12
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"12 kills, "*" inside a save, 280 steps: identical"* ]]
}
