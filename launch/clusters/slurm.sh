#!/bin/bash
#SBATCH --job-name=jleaks
#SBATCH --output=%x-%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# Runs the shards of a grid as an array: sbatch --array=0-7 slurm.sh checkpoints/grid
# Told to stop (preemption, the end of its time), a shard saves, exits with 75 and is queued again.
jleaks cells --root="$1" --shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" &
child=$!
trap 'kill -TERM "$child"' TERM
# A signal ends the waiting, not the child.
while wait "$child"; status=$?; kill -0 "$child" 2>/dev/null; do :; done
[ "$status" != 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$status"
