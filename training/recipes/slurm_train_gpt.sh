#!/bin/bash
# Trains a GPT on several machines of a Slurm cluster. Each process streams its share of the token shards, and a job
# that is stopped early (time limit, preemption) saves a checkpoint, goes back into the queue and continues from there.
#
#   sbatch slurm_train_gpt.sh mels audio_tokenizer tokens runs/gpt              # encodes the clips first
#   sbatch slurm_train_gpt.sh - audio_tokenizer user/vggsound-tokens runs/gpt   # tokens that exist, here on the Hub
#
# All paths have to be visible from every machine. Set the partition, the GPUs and the environment of your cluster.
#SBATCH --job-name=mel-gpt
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# The batch script gets the signal ten minutes before the end, and hands it on.
#SBATCH --signal=B:TERM@600

set -euo pipefail

if [[ $# -ne 4 ]]; then
    echo "usage: sbatch $0 MEL_DATASET|- AUDIO_TOKENIZER TOKEN_DATASET OUTPUT_DIR" >&2
    exit 2
fi
mel_dataset=$1 audio_tokenizer=$2 token_dataset=$3 output_dir=$4

gpus_per_node=${SLURM_GPUS_ON_NODE:-1}
num_processes=$((SLURM_NNODES * gpus_per_node))
read -r main_address < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
main_port=$((20000 + SLURM_JOB_ID % 20000))
threads=$((${SLURM_CPUS_PER_TASK:-1} / gpus_per_node))
export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
# Seconds that the launcher leaves its processes for the checkpoint, after a signal.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=480
srun_id=

# launch PRECISION MODULE ARGUMENT...: one launcher on each machine, which knows its number as SLURM_NODEID.
launch() {
    # shellcheck disable=SC2016
    srun --kill-on-bad-exit=1 bash -c '
        exec accelerate launch --multi_gpu --num_machines "$1" --num_processes "$2" --machine_rank "$SLURM_NODEID" \
            --main_process_ip "$3" --main_process_port "$4" --mixed_precision "$5" --dynamo_backend no -m "${@:6}"
    ' launch "$SLURM_NNODES" "$num_processes" "$main_address" "$main_port" "$@" &
    srun_id=$!
    wait "$srun_id"
}

# Passed on to all processes: a training then saves a checkpoint and ends, an encoding has its finished shards.
stop_and_requeue() {
    trap '' TERM
    echo "stopped early, going back into the queue"
    kill -TERM "$srun_id" 2>/dev/null || true
    wait "$srun_id" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap stop_and_requeue TERM

# Stage 2: every process encodes its share of the shards. Shards that are finished are not encoded again.
if [[ $mel_dataset != - && ! -e $token_dataset ]]; then
    launch no melspec_gpt.datasets_scripts.token_dataset \
        --dataset_path "$mel_dataset" --audio_tokenizer "$audio_tokenizer" --output_dir "$token_dataset"
fi

launch bf16 melspec_gpt.training.train_gpt gpt_vas \
    --dataset_path "$token_dataset" --audio_tokenizer "$audio_tokenizer" --output_dir "$output_dir" \
    --streaming true --dataloader_num_workers 4 \
    --model_config vas --learning_rate 1e-4 --lr_scheduler_type cosine --warmup_steps 1000 --max_grad_norm 1.0 \
    --per_device_train_batch_size 32 --num_train_epochs 100 \
    --checkpointing_steps 1000 --resume_from_checkpoint latest
