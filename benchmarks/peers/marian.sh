#!/usr/bin/env bash
# The peer Marian 1.12.42 (C++, as pymarian from PyPI), measured on the CPU.
#
#   marian.sh setup DIR                     make the virtual environment DIR/venv
#   marian.sh prepare DIR DATA              DATA/*.lc.norm.tok.{en,de}.gz -> DIR/data
#   marian.sh train DIR UPDATES [SIZE]      train a model of a size in contract.py (default: tiny), print the result
#   marian.sh learn DIR FOLDER              train tiny with the published recipe (Wu et al. 2021), or continue it
#   marian.sh translate DIR MODEL ...       translate test_2016_flickr with the average of models, beam 5
#
# PYTHON names the Python 3.11 to use. setup downloads 600 MB: the wheel also contains code for CUDA.
# train prints Marian's log on stderr (also in DIR/train.log) and one line on stdout, see contract.py.
# The speed is Marian's "words/s": target tokens including the end token, without padding. A batch is filled with pairs of
# similar length until their source tokens, without padding, exceed the limit, which gives about 15 % more target tokens
# than the others' batches. Marian divides it among its threads and sums their gradients. Dropout is applied as in the paper,
# with one mask of positions and units for all pairs of a batch.
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

setup() {
  local dir=$1
  mkdir -p -- "$dir"
  "${PYTHON:-python3.11}" -m venv "$dir/venv"
  local pip=("$dir/venv/bin/python" -m pip install --disable-pip-version-check)

  # The extension module needs numpy only; sentencepiece prepares the text.
  "${pip[@]}" numpy==2.4.6 sentencepiece==0.2.0 PyYAML==6.0.3
  "${pip[@]}" --no-deps pymarian==1.12.42
  "$dir/venv/bin/python" -c 'import _pymarian, sentencepiece'
}

prepare() {
  local dir=$1 data=$2
  "$dir/venv/bin/python" -c 'import _pymarian' || fail "no Marian in $dir/venv: run setup first"
  [[ ! -e $dir/data ]] || fail "$dir/data exists: remove it to prepare again"
  scratch=$(mktemp -d "$dir/prepare.XXXXXX")

  corpus "$dir/venv/bin/python" "$data" "$scratch"
  split_subwords "$dir/venv/bin/python" "$scratch"
  "$dir/venv/bin/python" - "$scratch" <<'PYTHON'
import json
import sys
from pathlib import Path

import sentencepiece

folder = Path(sys.argv[1])
pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
ordinary = [i for i in range(len(pieces)) if not pieces.is_control(i) and not pieces.is_unknown(i)]
names = ["</s>", "<unk>", *map(pieces.id_to_piece, ordinary)]
# JSON strings are YAML strings, too.
lines = (f"{json.dumps(name, ensure_ascii=False)}: {i}\n" for i, name in enumerate(names))
(folder / "data" / "vocab.yml").write_text("".join(lines), encoding="utf-8")
PYTHON
  mv -- "$scratch"/{train,val,test_2016_flickr}.{en,de} "$scratch/spm.model" "$scratch/data/"
  mv -- "$scratch/data" "$dir/data"
}

start='import sys, _pymarian; sys.exit(_pymarian.Trainer(" ".join(sys.argv[1:])).train())'

train() {
  local dir=$1 updates=$2 options batch_tokens threads=$OMP_NUM_THREADS
  cd -- "$dir"  # paths then need no quoting, which Marian's options do not support
  model_options "${3:-tiny}"
  scratch=$(mktemp -d train.XXXXXX)
  OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 venv/bin/python "$contract" run marian "$updates" train.log \
    'Up\. (?P<update>[0-9]+) .* (?P<rate>[0-9.]+) words/s' \
    venv/bin/python -c "$start" "${options[@]}" --cpu-threads "$threads" --model "$scratch/model.npz" \
    --mini-batch-words "$batch_tokens" --after-batches "$updates" --disp-freq 10u --save-freq 0u
}

# Sets `batch_tokens` and the array `options` for a model of size $1.
model_options() {
  local size layers d_model d_ff heads dropout smoothing peak_rate warmup
  [[ -r data/vocab.yml ]] || fail "no data in $PWD/data: run prepare first"
  size=$(venv/bin/python "$contract" size "$1")
  eval "$size"
  options=(
    --type transformer --seed 1
    --train-sets data/train.bpe.en data/train.bpe.de --vocabs data/vocab.yml data/vocab.yml
    --tied-embeddings-all --enc-depth "$layers" --dec-depth "$layers" --dim-emb "$d_model"
    --transformer-dim-ffn "$d_ff" --transformer-heads "$heads" --transformer-dropout "$dropout"
    --transformer-ffn-activation relu
    --label-smoothing "$smoothing" --cost-type ce-sum --disp-label-counts
    --learn-rate "$peak_rate" --lr-warmup "${warmup}u" --lr-decay-inv-sqrt "${warmup}u" --lr-report
    --optimizer-params 0.9 0.98 1e-09 --clip-norm 0
    --mini-batch 1000 --maxi-batch 29 --max-length 128 --workspace 1000
  )
}

learn() {
  local dir=$1 folder=$2 options batch_tokens epoch threads=$OMP_NUM_THREADS
  mkdir -p -- "$folder"
  [[ $folder != *[[:space:]]* ]] || fail "$folder: Marian's options do not support spaces"
  cd -- "$dir"
  model_options tiny
  epoch=$(($(wc -w <data/train.bpe.de) + $(wc -l <data/train.bpe.de)))  # target tokens
  export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
  exec venv/bin/python -c "$start" "${options[@]}" --cpu-threads "$threads" --model "$folder/model.npz" \
    --mini-batch-words "$((2 * batch_tokens))" --after-batches 8000 --disp-freq 50u --save-freq "${epoch}t"
}

translate() {
  local dir=$1
  shift
  scratch=$(mktemp -d "$dir/translate.XXXXXX")
  OMP_NUM_THREADS=1 "$dir/venv/bin/python" - "$dir/data" "$scratch" "$OMP_NUM_THREADS" "$@" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

import _pymarian
import numpy as np

data, scratch, threads, *paths = sys.argv[1:]
models = [dict(np.load(path)) for path in paths]
with zipfile.ZipFile(f"{scratch}/model.npz", "w", allowZip64=False) as archive:  # Marian cannot read ZIP64
    for name, last in models[-1].items():
        is_weight = last.dtype == np.float32
        average = np.mean([each[name] for each in models], axis=0, dtype=np.float32) if is_weight else last
        with open(f"{scratch}/array.npy", "wb") as file:
            np.save(file, average)
        archive.write(f"{scratch}/array.npy", f"{name}.npy")
translator = _pymarian.Translator(
    f"--models {scratch}/model.npz --vocabs {data}/vocab.yml {data}/vocab.yml --cpu-threads {threads} --quiet "
    "--beam-size 5 --normalize 0.6 --mini-batch 64 --maxi-batch 100 --maxi-batch-sort src --workspace 256"
)
lines = Path(data, "test_2016_flickr.bpe.en").read_text(encoding="utf-8").split("\n")[:-1]
for line in translator.translate(lines):
    print(line.replace(" ", "").replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip())
PYTHON
}

run_command "$@"
