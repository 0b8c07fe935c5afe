#!/usr/bin/env bash
# All stages on 8 GPUs, completions of GRPO and of `eval` written by vLLM (pip install 'lorapar[vllm]').
#   MODEL=Qwen/Qwen2.5-7B DATA=train.jsonl TEACHERS=rules-operations,rules-cues \
#     bash sample_configs/train-8gpu-vllm.sh
# Variables and stages as in train-8gpu.sh.
set -euo pipefail

# vLLM shares each GPU with training. A 7B model takes 15 GB for training and as much in vLLM; 0.35 of 80 GB leaves
# vLLM 28 GB, that is 13 GB for the keys and values of what it writes.
export RL_OPTIONS="--vllm colocate --training vllm_gpu_memory_utilization=0.35 ${RL_OPTIONS:-}"
# One vLLM for the whole evaluation: it has no use for one process a GPU.
export EVAL_OPTIONS="--backend vllm ${EVAL_OPTIONS:-}"
export EVAL_GPUS=1

bash "$(dirname "${BASH_SOURCE[0]}")/train-8gpu.sh" "$@"
