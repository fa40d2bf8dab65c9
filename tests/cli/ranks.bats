#!/usr/bin/env bats
# Many ranks and their launchers: how a job ends when a rank does, and a start that cannot work.

setup() {
    B=${B:-build/release}
    MPIRUN=${MPIRUN-mpirun}
    [ -n "$MPIRUN" ] || skip "built without MPI"
    command -v "$MPIRUN" >/dev/null || skip "no $MPIRUN on this machine"
    ranks_comm=$B/tests/comm/ranks_comm
    options=
    if "$MPIRUN" --version | grep -q 'Open MPI'; then
        options=--oversubscribe
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
}

@test "a rank that dies inside a collective ends the job" {
    run timeout 30 "$MPIRUN" $options -n 3 "$ranks_comm" on_purpose_die_inside_a_collective
    [ "$status" -ne 0 ]
    [ "$status" -ne 124 ]
}

@test "a rank that leaves alone after an error ends the job" {
    run timeout 30 "$MPIRUN" $options -n 3 "$ranks_comm" on_purpose_leave_alone
    [ "$status" -ne 0 ]
    [ "$status" -ne 124 ]
    [[ "$output" == *"rank 2 leaves"* ]]
}

@test "the mpirun of another MPI is named, with the one that works" {
    if ldd "$ranks_comm" | grep -q libmpich; then
        own=MPICH
        run env OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4 "$ranks_comm"
        [[ "$output" == *"mpirun of Open MPI started rank 1 of 4, but"* ]]
    else
        own="Open MPI"
        run env PMI_RANK=1 PMI_SIZE=4 "$ranks_comm"
        [[ "$output" == *"mpirun of MPICH started rank 1 of 4, but"* ]]
    fi
    [ "$status" -eq 1 ]
    [[ "$output" == *"was built with $own"*"which finds 1; start it with mpirun of $own"* ]]
}

@test "only programs of many ranks are linked with MPI" {
    for tool in lt-tokenize lt-shard lt-ckpt-merge; do
        [ -x "$B/bin/$tool" ] || continue
        run ldd "$B/bin/$tool"
        [ "$status" -eq 0 ]
        [[ "$output" != *libmpi* ]]
    done
}
