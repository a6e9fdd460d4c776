#!/usr/bin/env bash
# The peer fairseq 0.12.3 (as fairseq-fixed), measured on the CPU.
#
#   fairseq.sh setup DIR                    make the virtual environment DIR/venv
#   fairseq.sh prepare DIR DATA             DATA/*.lc.norm.tok.{en,de}.gz -> DIR/bin (en-de)
#   fairseq.sh train DIR UPDATES [SIZE]     train a model of a size in contract.py (default: tiny), print the result
#   fairseq.sh learn DIR FOLDER             train tiny with the published recipe (Wu et al. 2021), or continue it
#   fairseq.sh translate DIR MODEL ...      translate test_2016_flickr with the average of checkpoints, beam 5
#
# setup builds C++ extensions, so it needs a C++ compiler; PYTHON names the Python 3.11 to use.
# train prints fairseq's log on stderr (also in DIR/train.log) and one line on stdout, see contract.py.
# The speed is fairseq's "wps": target tokens including the end token, without padding. Dropout is applied as in the
# paper, not inside attention and the feed-forward network. fairseq keeps only the subwords used in the training text,
# 9,600 including its special symbols, so its output layer is 4 % smaller.
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# fairseq's checkpoints contain more than tensors, which torch.load rejects by default.
export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1

setup() {
  local dir=$1
  mkdir -p -- "$dir"
  "${PYTHON:-python3.11}" -m venv "$dir/venv"
  local pip=("$dir/venv/bin/python" -m pip install --disable-pip-version-check)

  # All dependencies of fairseq and torch, pinned. torchaudio, which fairseq-fixed requires but translation does not
  # use, is omitted, hence --no-deps below.
  "${pip[@]}" torch==2.13.0 -r /dev/stdin <<'REQUIREMENTS'
antlr4-python3-runtime==4.9.3
bitarray==3.12.3
cffi==2.1.1
cython==3.3.1
hydra-core==1.3.2
numpy==2.4.6
omegaconf==2.3.0
packaging==26.3
regex==2026.11.15
sacrebleu==2.6.0
scikit-learn==1.9.1
scipy==1.17.1
sentencepiece==0.2.0
setuptools==84.2.1
tensorboardX==2.6.5
tqdm==4.70.1
REQUIREMENTS
  # Its build requires torch 1.10 or newer; without isolation it uses the torch installed above.
  "${pip[@]}" --no-deps --no-build-isolation fairseq-fixed==0.12.3.1
  "$dir/venv/bin/python" -c 'import fairseq.data.data_utils_fast, fairseq_cli.train, sentencepiece'
}

prepare() {
  local dir=$1 data=$2
  [[ -x $dir/venv/bin/fairseq-preprocess ]] || fail "no fairseq in $dir/venv: run setup first"
  [[ ! -e $dir/bin ]] || fail "$dir/bin exists: remove it to prepare again"
  scratch=$(mktemp -d "$dir/prepare.XXXXXX")

  corpus "$dir/venv/bin/python" "$data" "$scratch"
  split_subwords "$dir/venv/bin/python" "$scratch"
  "$dir/venv/bin/fairseq-preprocess" \
    --source-lang en --target-lang de --joined-dictionary --workers 2 \
    --trainpref "$scratch/data/train.bpe" --validpref "$scratch/data/val.bpe" \
    --testpref "$scratch/data/test_2016_flickr.bpe" --destdir "$scratch/bin" >&2
  cp -- "$scratch/spm.model" "$scratch/bin/"
  mv -- "$scratch/bin" "$dir/bin"
}

train() {
  local dir=$1 updates=$2 options
  model_options "$dir" "${3:-tiny}"
  # An empty checkpoint folder, so that fairseq does not resume.
  scratch=$(mktemp -d "$dir/train.XXXXXX")

  "$dir/venv/bin/python" "$contract" run fairseq "$updates" "$dir/train.log" \
    'train_inner .*"wps": "(?P<rate>[0-9.]+)".*"num_updates": "(?P<update>[0-9]+)"' \
    "$dir/venv/bin/fairseq-train" "$dir/bin" \
    "${options[@]}" --update-freq 1 --max-update "$updates" \
    --no-save --save-dir "$scratch" --log-interval 10
}

# Sets the array `options` for a model of size $2.
model_options() {
  local dir=$1 size layers d_model d_ff heads dropout batch_tokens smoothing peak_rate warmup
  [[ -r $dir/bin/dict.de.txt ]] || fail "no data in $dir/bin: run prepare first"
  size=$("$dir/venv/bin/python" "$contract" size "$2")
  eval "$size"
  options=(
    --cpu --seed 1 --source-lang en --target-lang de
    --arch transformer --share-all-embeddings --dropout "$dropout"
    --encoder-layers "$layers" --encoder-embed-dim "$d_model" --encoder-ffn-embed-dim "$d_ff"
    --encoder-attention-heads "$heads"
    --decoder-layers "$layers" --decoder-embed-dim "$d_model" --decoder-ffn-embed-dim "$d_ff"
    --decoder-attention-heads "$heads"
    --criterion label_smoothed_cross_entropy --label-smoothing "$smoothing"
    --optimizer adam --adam-betas '(0.9, 0.98)'
    --lr "$peak_rate" --lr-scheduler inverse_sqrt --warmup-updates "$warmup"
    --max-tokens "$batch_tokens" --disable-validation --log-format json
  )
}

learn() {
  local dir=$1 folder=$2 options
  model_options "$dir" tiny
  exec "$dir/venv/bin/fairseq-train" "$dir/bin" "${options[@]}" --update-freq 2 --max-update 8000 \
    --save-dir "$folder" --keep-last-epochs 5 --log-interval 50
}

translate() {
  local dir=$1
  shift
  scratch=$(mktemp -d "$dir/translate.XXXXXX")
  "$dir/venv/bin/python" - "$scratch/average.pt" "$@" <<'PYTHON'
import sys

import torch

checkpoints = [torch.load(path, map_location="cpu") for path in sys.argv[2:]]
average = checkpoints[-1]
for name, tensor in average["model"].items():
    average["model"][name] = sum(each["model"][name] for each in checkpoints) / len(checkpoints)
torch.save(average, sys.argv[1])
PYTHON
  "$dir/venv/bin/fairseq-generate" "$dir/bin" --cpu --source-lang en --target-lang de --gen-subset test \
    --path "$scratch/average.pt" --beam 5 --lenpen 0.6 --batch-size 64 --remove-bpe sentencepiece >"$scratch/out"
  grep '^H-' "$scratch/out" | sed 's/^H-//' | sort -n | cut -f 3
}

run_command "$@"
