#!/bin/bash
# A training over several nodes of a Slurm cluster, from the project's folder on a file system that all of them see:
#   sbatch --nodes=2 --gpus-per-node=4 docs/scaling/slurm.sh --pipeline finetune pretrain.trainer.accumulate=8
# What stands behind the file is what `kedro run` is told. Three minutes before the time is up a
# checkpoint is written, for which the ranks have two, and the job queued again; where Slurm preempts it, it queues
# the job itself. The same command then goes on.
#SBATCH --job-name=fromzero
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180

source .venv/bin/activate
start=data/.checkpoints/start.sh # what a node has to run: there while a training waits for its ranks
rm -f "$start"                   # of a run that was killed

kedro run trainer.launcher=external trainer.nodes="$SLURM_JOB_NUM_NODES" trainer.devices="$SLURM_GPUS_ON_NODE" \
  trainer.address="$(hostname):${PORT:-29500}" "$@" & # this script runs on the first node, as rank 0 does
head=$!
# A run has several trainings, one after another; each node looks for the next one.
srun --ntasks-per-node=1 bash -c "trap over=1 TERM
  until [ \"\$over\" ]; do [ ! -e $start ] || bash $start; sleep 2; done" &
nodes=$!

again=
trap 'again=yes; kill -USR1 $head' USR1
trap 'kill -TERM $head' TERM # scancel, or preemption, which Slurm itself follows by a requeue
while
  wait $head
  code=$?
  kill -0 $head 2>/dev/null # a signal ended the wait, not the run
do :; done
kill $nodes 2>/dev/null
if [ -n "$again" ] && [ $code -ne 0 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
