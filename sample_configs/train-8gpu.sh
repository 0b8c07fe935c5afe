#!/usr/bin/env bash
# All stages on the GPUs of one machine.
#   MODEL=Qwen/Qwen2.5-7B DATA=train.jsonl TEACHERS=rules-operations,rules-cues \
#     bash sample_configs/train-8gpu.sh
# Stages that are up to date are skipped. To run some stages only, name them:
#   bash sample_configs/train-8gpu.sh train-sft train-rl
# ENGINE=fsdp2, zero2 or zero3 shards the model in both training stages. CLASSIFY_OPTIONS, SCORE_OPTIONS, ...,
# RL_OPTIONS, EVAL_OPTIONS are appended to the commands of their stages. score and eval hold the whole model in
# every process, unless SCORE_OPTIONS and EVAL_OPTIONS have --shard.
set -euo pipefail

GPUS=${GPUS:-8}
ENGINE=${ENGINE:-ddp}
CONFIGS=$(dirname "${BASH_SOURCE[0]}")

whole() {
  torchrun --standalone --nproc_per_node "$GPUS" -m lorapar_cli "$@"
}

divided() {
  if [ "$ENGINE" = ddp ]; then
    whole "$@"
  else
    accelerate launch --config_file "$CONFIGS/accelerate-$ENGINE.yaml" --num_processes "$GPUS" \
      -m lorapar_cli "$@"
  fi
}

# shellcheck disable=SC2086  # The *_OPTIONS variables must split into words.
for stage in "${@:-classify score partition train-sft train-rl eval}"; do
  for one in $stage; do
    case $one in
      classify)
        python -m lorapar_cli classify "${DATA:?}" --model "${MODEL:?}" \
          --teachers "${TEACHERS:?}" ${CLASSIFY_OPTIONS:-}
        ;;
      score) whole score ${SCORE_OPTIONS:-} ;;
      partition) python -m lorapar_cli partition ${PARTITION_OPTIONS:-} ;;
      train-sft) divided train-sft ${SFT_OPTIONS:-} ;;
      train-rl) divided train-rl ${RL_OPTIONS:-} ;;
      eval) GPUS=${EVAL_GPUS:-$GPUS} whole eval ${EVAL_OPTIONS:-} ;;
      *) echo "no such stage: $one" >&2 && exit 2 ;;
    esac
  done
done
