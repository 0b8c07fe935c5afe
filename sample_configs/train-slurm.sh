#!/usr/bin/env bash
#SBATCH --job-name=lorapar
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# Both training stages on several nodes, after `classify`, `score` and `partition`. The run directory must be on
# a file system that all nodes share.
#   sbatch sample_configs/train-slurm.sh [STAGE ...]
# If a job was stopped, submit it again unchanged: it resumes from its last checkpoint.
# ENGINE=fsdp2, zero2 or zero3 shards the model. SFT_OPTIONS and RL_OPTIONS are appended to the commands of
# their stages.
set -euo pipefail

GPUS=${GPUS:-8}
ENGINE=${ENGINE:-ddp}
# SLURM runs a copy of this script from another folder.
CONFIGS=${CONFIGS:-sample_configs}
PORT=${PORT:-29500}
# `head` would leave before `scontrol` has written every name, which then fails, and this script with it.
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)

launch() {
  if [ "$ENGINE" = ddp ]; then
    srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "$GPUS" --rdzv_backend c10d \
      --rdzv_id "$SLURM_JOB_ID" --rdzv_endpoint "$HEAD:$PORT" -m lorapar_cli "$@"
  else
    # Each node has its own SLURM_NODEID, so it must not be expanded here.
    # shellcheck disable=SC2016
    srun bash -c 'accelerate launch --machine_rank "$SLURM_NODEID" "$@"' launch \
      --config_file "$CONFIGS/accelerate-$ENGINE.yaml" --num_machines "$SLURM_NNODES" \
      --num_processes $((SLURM_NNODES * GPUS)) --main_process_ip "$HEAD" \
      --main_process_port "$PORT" --deepspeed_multinode_launcher standard -m lorapar_cli "$@"
  fi
}

# shellcheck disable=SC2086  # The *_OPTIONS variables must split into words.
for stage in "${@:-train-sft train-rl}"; do
  for one in $stage; do
    case $one in
      train-sft) launch train-sft ${SFT_OPTIONS:-} ;;
      train-rl) launch train-rl ${RL_OPTIONS:-} ;;
      *) echo "no such stage: $one" >&2 && exit 2 ;;
    esac
  done
done
