#!/usr/bin/env bash
#SBATCH --job-name=lorapar
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# Both trainings on several nodes, after `classify`, `score` and `partition`; the run directory lies on a
# file system that all nodes see.
#   sbatch sample_configs/train-slurm.sh [STAGE ...]
# A job that was stopped is submitted again as it was and goes on from its last checkpoint.
# ENGINE=fsdp2, zero2 or zero3 divides the model. *_OPTIONS are added to a stage's command.
set -euo pipefail

GPUS=${GPUS:-8}
ENGINE=${ENGINE:-ddp}
# SLURM runs a copy of this script: its own folder is not the repository's.
CONFIGS=${CONFIGS:-sample_configs}
PORT=${PORT:-29500}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

launch() {
  if [ "$ENGINE" = ddp ]; then
    srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "$GPUS" --rdzv_backend c10d \
      --rdzv_id "$SLURM_JOB_ID" --rdzv_endpoint "$HEAD:$PORT" -m lorapar_cli "$@"
  else
    # SLURM_NODEID is known on each node only: it must not be replaced here.
    # shellcheck disable=SC2016
    srun bash -c 'accelerate launch --machine_rank "$SLURM_NODEID" "$@"' launch \
      --config_file "$CONFIGS/accelerate-$ENGINE.yaml" --num_machines "$SLURM_NNODES" \
      --num_processes $((SLURM_NNODES * GPUS)) --main_process_ip "$HEAD" \
      --main_process_port "$PORT" --deepspeed_multinode_launcher standard -m lorapar_cli "$@"
  fi
}

# shellcheck disable=SC2086  # Options are several words.
for stage in "${@:-train-sft train-rl}"; do
  for one in $stage; do
    case $one in
      train-sft) launch train-sft ${SFT_OPTIONS:-} ;;
      train-rl) launch train-rl ${RL_OPTIONS:-} ;;
      *) echo "no such stage: $one" >&2 && exit 2 ;;
    esac
  done
done
