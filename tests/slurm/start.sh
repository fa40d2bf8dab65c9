#!/bin/sh
# A SLURM of its own on this machine, for the tests: slurmctld and two slurmd, n1 and n2, all files in
# one folder.  Root; slurm-wlm and munge have to be installed.
#   start.sh FOLDER   starts it and waits until both nodes are idle
#   stop.sh FOLDER    ends it
# Commands find it by SLURM_CONF=FOLDER/slurm.conf.
set -eu
PATH=$PATH:/usr/sbin:/sbin
[ $# -eq 1 ] || { echo "usage: start.sh FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
dir=$PWD
host=$(hostname -s)
cpus=$(nproc)
base=$((20000 + $$ % 20000)) # ports; two runs at once do not meet
mkdir -p state spool.n1 spool.n2 munge
chmod 755 munge

cat >slurm.conf <<END
ClusterName=lt
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
MinJobAge=300
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SchedulerType=sched/builtin
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 1)) CPUs=$cpus State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 2)) CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES OverSubscribe=FORCE:4 MaxTime=INFINITE State=UP
END
SLURM_CONF=$dir/slurm.conf
export SLURM_CONF

head -c 1024 /dev/urandom >munge/key
chmod 400 munge/key
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --num-threads=2 \
    --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
slurmctld -f "$SLURM_CONF"
for n in n1 n2; do slurmd -f "$SLURM_CONF" -N $n; done

tries=200
until [ "$(sinfo -h -N -o '%t' 2>/dev/null | grep -c idle)" -eq 2 ]; do
    tries=$((tries - 1))
    if [ $tries -eq 0 ]; then
        echo "start.sh: SLURM did not come up: $(tail -n 1 slurmctld.log)" >&2
        sh "$here/stop.sh" "$dir"
        exit 1
    fi
    sleep 0.1
done
