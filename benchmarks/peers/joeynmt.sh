#!/usr/bin/env bash
# The peer Joey NMT 2.3.0, measured on the CPU.
#
#   joeynmt.sh setup DIR                    make the virtual environment DIR/venv
#   joeynmt.sh prepare DIR DATA             DATA/*.lc.norm.tok.{en,de}.gz -> DIR/data
#   joeynmt.sh train DIR UPDATES [SIZE]     train a model of a size in contract.py (default: tiny), print the result
#
# PYTHON names the Python 3.11 to use.
# train prints Joey NMT's log on stderr (also in DIR/train.log) and one line on stdout, see contract.py.
# The speed is Joey NMT's "Tokens per Sec": target tokens including the end token, without padding; the first window of
# an epoch is shorter. With batch type "token", Joey NMT fills a batch with pairs in random order, not of similar length,
# until their number times the longest reaches the limit, so most of a batch is padding. Dropout is also applied inside
# attention and the feed-forward network.
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

setup() {
  local dir=$1
  mkdir -p -- "$dir"
  "${PYTHON:-python3.11}" -m venv "$dir/venv"
  local pip=("$dir/venv/bin/python" -m pip install --disable-pip-version-check)

  # All dependencies of training, pinned. Joey NMT requires protobuf < 3.21, which current tensorboard versions reject,
  # and packages that training does not use, hence --no-deps below.
  "${pip[@]}" torch==2.13.0 -r /dev/stdin <<'REQUIREMENTS'
absl-py==2.5.1
colorama==0.4.6
contourpy==1.3.3
cycler==0.12.1
filelock==4.2.11
fonttools==4.68.0
fsspec==2026.9.0
grpcio==1.85.1
importlib_metadata==10.2.0
Jinja2==3.1.6
kiwisolver==1.5.1
lazy-importer==0.1.0
lxml==6.1.3
Markdown==3.11.3
MarkupSafe==3.0.4
matplotlib==3.11.2
mock==5.2.0
mpmath==1.3.0
networkx==3.6.1
numpy==2.4.6
packaging==26.3
pillow==13.0.0
portalocker==4.4.2
protobuf==7.36.2
pyparsing==3.3.3
python-dateutil==4.0.0
PyYAML==6.0.3
regex==2026.11.15
sacrebleu==2.6.0
sentencepiece==0.2.0
setuptools==84.2.1
subword-nmt==0.3.8
sympy==1.14.0
tabulate==0.10.0
tensorboard==2.21.0
tensorboard-data-server==0.7.2
tqdm==4.70.1
typing_extensions==4.16.0
tzdata==2026.6
Werkzeug==3.1.9
zipp==4.1.2
REQUIREMENTS
  "${pip[@]}" --no-deps joeynmt==2.3.0
  "$dir/venv/bin/python" -c 'import joeynmt.training'
}

prepare() {
  local dir=$1 data=$2
  "$dir/venv/bin/python" -c 'import joeynmt' || fail "no Joey NMT in $dir/venv: run setup first"
  [[ ! -e $dir/data ]] || fail "$dir/data exists: remove it to prepare again"
  scratch=$(mktemp -d "$dir/prepare.XXXXXX")

  corpus "$dir/venv/bin/python" "$data" "$scratch"
  # Joey NMT puts its own special symbols before these.
  "$dir/venv/bin/python" - "$scratch" <<'PYTHON'
import sys
from pathlib import Path

import sentencepiece

folder = Path(sys.argv[1])
pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
ordinary = (i for i in range(len(pieces)) if not pieces.is_control(i) and not pieces.is_unknown(i))
(folder / "vocab.txt").write_text("".join(pieces.id_to_piece(i) + "\n" for i in ordinary), encoding="utf-8")
PYTHON
  mkdir -- "$scratch/data"
  mv -- "$scratch"/{train,val,test_2016_flickr}.{en,de} "$scratch/spm.model" "$scratch/vocab.txt" "$scratch/data/"
  mv -- "$scratch/data" "$dir/data"
}

train() {
  local dir=$1 updates=$2 size side
  local layers d_model d_ff heads dropout batch_tokens smoothing peak_rate warmup
  cd -- "$dir"  # paths in the configuration then need no quoting
  [[ -r data/vocab.txt ]] || fail "no data in $dir/data: run prepare first"
  size=$(venv/bin/python "$contract" size "${3:-tiny}")
  eval "$size"
  scratch=$(mktemp -d train.XXXXXX)

  side="level: bpe, tokenizer_type: sentencepiece, tokenizer_cfg: {model_file: data/spm.model}"
  side+=", voc_file: data/vocab.txt"
  cat >"$scratch/config.yaml" <<YAML
name: multi30k
joeynmt_version: 2.3.0
model_dir: $scratch/model
use_cuda: False
random_seed: 1
data:
  train: data/train
  dev: data/val
  dataset_type: plain
  src: {lang: en, $side}
  trg: {lang: de, $side}
model:
  tied_embeddings: True
  tied_softmax: True
  encoder: &half
    type: transformer
    num_layers: $layers
    num_heads: $heads
    embeddings: {embedding_dim: $d_model, scale: True}
    hidden_size: $d_model
    ff_size: $d_ff
    dropout: $dropout
    layer_norm: post
  decoder: *half
training:
  label_smoothing: $smoothing
  optimizer: adam
  adam_betas: [0.9, 0.98]
  learning_rate: $peak_rate
  learning_rate_min: 0.0
  scheduling: warmupinversesquareroot
  learning_rate_warmup: $warmup
  normalization: tokens
  batch_type: token
  batch_size: $batch_tokens
  updates: $updates
  epochs: $updates
  logging_freq: 10
  validation_freq: ${updates}0  # never
testing: {}
YAML
  venv/bin/python "$contract" run joeynmt "$updates" train.log \
    'Step: +(?P<update>[0-9]+),.* Tokens per Sec: +(?P<rate>[0-9]+),' \
    venv/bin/python -m joeynmt train "$scratch/config.yaml" --skip-test
}

run_command "$@"
