#!/usr/bin/env bash
# The peer Eole 0.6.4 (the successor of OpenNMT-py), measured on the CPU.
#
#   eole.sh setup DIR                       make the virtual environment DIR/venv
#   eole.sh prepare DIR DATA                DATA/*.lc.norm.tok.{en,de}.gz -> DIR/data
#   eole.sh train DIR UPDATES [SIZE]        train a model of a size in contract.py (default: tiny), print the result
#
# PYTHON names the Python 3.11 to use.
# train prints Eole's log on stderr (also in DIR/train.log) and one line on stdout, see contract.py.
# The speed is the second of Eole's two "tok/s": target tokens including the end token, without padding. Batches have
# pairs of similar length. Its decoder is pre-norm, so the whole model is. Dropout is also applied inside attention and
# the feed-forward network.
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

setup() {
  local dir=$1
  mkdir -p -- "$dir"
  "${PYTHON:-python3.11}" -m venv "$dir/venv"
  local pip=("$dir/venv/bin/python" -m pip install --disable-pip-version-check)

  # Dependencies of training. Eole also requires CTranslate2, spaCy, torchcodec, pandas, datasets and others, which its
  # trainer does not import, hence --no-deps below.
  "${pip[@]}" torch==2.13.0 -r /dev/stdin <<'REQUIREMENTS'
aiohttp==3.14.5
ConfigArgParse==1.9.0
fastapi==0.165.0
huggingface_hub==2.4.0
Jinja2==3.1.6
numpy==2.4.6
pillow==13.0.0
protobuf==7.36.2
pyahocorasick==2.3.1
pydantic==2.14.4
pyonmttok==1.38.1
PyYAML==6.0.4
RapidFuzz==3.14.6
regex==2026.11.19
requests==2.34.2
rich==15.0.0
sacrebleu==2.6.0
safetensors==0.8.0
sentencepiece==0.2.0
six==1.17.0
tensorboard==2.21.0
tokenizers==0.23.3
torch-optimi==0.3.3
tqdm==4.70.1
uvicorn==0.54.0
REQUIREMENTS
  "${pip[@]}" --no-deps eole==0.6.4
  "$dir/venv/bin/python" -W ignore -c 'import eole.bin.run.train'
}

prepare() {
  local dir=$1 data=$2
  [[ -x $dir/venv/bin/eole ]] || fail "no Eole in $dir/venv: run setup first"
  [[ ! -e $dir/data ]] || fail "$dir/data exists: remove it to prepare again"
  scratch=$(mktemp -d "$dir/prepare.XXXXXX")

  corpus "$dir/venv/bin/python" "$data" "$scratch"
  split_subwords "$dir/venv/bin/python" "$scratch"
  # Eole puts its own special symbols before these; the second column is a frequency.
  "$dir/venv/bin/python" - "$scratch" <<'PYTHON'
import sys
from pathlib import Path

import sentencepiece

folder = Path(sys.argv[1])
pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
ordinary = (i for i in range(len(pieces)) if not pieces.is_control(i) and not pieces.is_unknown(i))
(folder / "data" / "vocab.txt").write_text("".join(f"{pieces.id_to_piece(i)}\t1\n" for i in ordinary), encoding="utf-8")
PYTHON
  mv -- "$scratch/data" "$dir/data"
}

train() {
  local dir=$1 updates=$2 size
  local layers d_model d_ff heads dropout batch_tokens smoothing peak_rate warmup
  cd -- "$dir"  # paths in the configuration then need no quoting
  [[ -r data/vocab.txt ]] || fail "no data in $dir/data: run prepare first"
  size=$(venv/bin/python "$contract" size "${3:-tiny}")
  eval "$size"
  scratch=$(mktemp -d train.XXXXXX)

  cat >"$scratch/config.yaml" <<YAML
seed: 1
report_every: 10
share_vocab: true
src_vocab: data/vocab.txt
tgt_vocab: data/vocab.txt
src_vocab_size: 10000
tgt_vocab_size: 10000
vocab_size_multiple: 1
data:
  train: {path_src: data/train.bpe.en, path_tgt: data/train.bpe.de, transforms: []}
training:
  model_path: $scratch/model
  world_size: 0
  gpu_ranks: []
  compute_dtype: fp32
  num_workers: 0
  bucket_size: 29000
  batch_type: tokens
  batch_size: $batch_tokens
  batch_size_multiple: 1
  accum_count: [1]
  normalization: tokens
  log_attention_entropy: false  # needs attention weights, which is slower
  train_steps: $updates
  valid_steps: ${updates}0  # never
  save_checkpoint_steps: ${updates}0
  optim: adam
  adam_beta1: 0.9
  adam_beta2: 0.98
  max_grad_norm: 0
  learning_rate: $peak_rate
  warmup_steps: $warmup
  decay_method: rsqrt
  label_smoothing: $smoothing
  dropout: [$dropout]
  attention_dropout: [$dropout]
  dropout_steps: [0]
model:
  architecture: transformer
  layers: $layers
  hidden_size: $d_model
  heads: $heads
  transformer_ff: $d_ff
  mlp_activation_fn: relu
  add_qkvbias: true
  add_final_linear_bias: true
  add_ffnbias: true
  share_embeddings: true
  share_decoder_embeddings: true
  embeddings: {word_vec_size: $d_model, position_encoding_type: SinusoidalInterleaved}
YAML
  venv/bin/python "$contract" run eole "$updates" train.log \
    'Step +(?P<update>[0-9]+)/.* [0-9]+/ *(?P<rate>[0-9]+) tok/s' \
    venv/bin/eole train --config "$scratch/config.yaml"
}

run_command "$@"
