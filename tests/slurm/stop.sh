#!/bin/sh
# Ends the SLURM that start.sh began in FOLDER, its jobs first.
set -u
[ $# -eq 1 ] && cd "$1" || { echo "usage: stop.sh FOLDER" >&2; exit 2; }
SLURM_CONF=$PWD/slurm.conf
export SLURM_CONF
if [ -e slurmctld.pid ]; then
    for job in $(timeout 5 squeue -h -o %A 2>/dev/null); do timeout 5 scancel "$job"; done
fi
for pid in slurmd.n1.pid slurmd.n2.pid slurmctld.pid munge/pid; do
    [ -e $pid ] || continue
    read -r process <$pid
    kill "$process" 2>/dev/null
    tries=50
    while kill -0 "$process" 2>/dev/null && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    kill -9 "$process" 2>/dev/null
done
exit 0
