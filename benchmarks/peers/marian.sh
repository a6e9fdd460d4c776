#!/usr/bin/env bash
# The peer Marian 1.12.42 (C++, as pymarian from PyPI), measured on the CPU.
#
#   marian.sh setup DIR                     make the virtual environment DIR/venv
#   marian.sh prepare DIR DATA              DATA/*.lc.norm.tok.{en,de}.gz -> DIR/data
#   marian.sh train DIR UPDATES [SIZE]      train a model of a size in contract.py (default: tiny), print the result
#
# PYTHON names the Python 3.11 to use. setup downloads 600 MB: the wheel also contains code for CUDA.
# train prints Marian's log on stderr (also in DIR/train.log) and one line on stdout, see contract.py.
# The speed is Marian's "words/s": target tokens including the end token, without padding. A batch is filled with pairs of
# similar length until their source tokens, without padding, exceed the limit, which gives a tenth more tokens than the
# limit of the others. Marian divides it among its threads and sums their gradients. Dropout is applied as in the paper,
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
  mkdir -- "$scratch/data"
  "$dir/venv/bin/python" - "$scratch" <<'PYTHON'
import json
import sys
from pathlib import Path

import sentencepiece

folder = Path(sys.argv[1])
pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
for split in ("train", "val", "test_2016_flickr"):
    for lang in ("en", "de"):
        with (
            open(folder / f"{split}.{lang}", encoding="utf-8", newline="\n") as source,
            open(folder / "data" / f"{split}.bpe.{lang}", "w", encoding="utf-8", newline="\n") as target,
        ):
            for line in source:
                target.write(" ".join(pieces.encode(line.rstrip("\n"), out_type=str)) + "\n")
ordinary = [i for i in range(len(pieces)) if not pieces.is_control(i) and not pieces.is_unknown(i)]
names = ["</s>", "<unk>", *map(pieces.id_to_piece, ordinary)]
# JSON strings are YAML strings, too.
lines = (f"{json.dumps(name, ensure_ascii=False)}: {i}\n" for i, name in enumerate(names))
(folder / "data" / "vocab.yml").write_text("".join(lines), encoding="utf-8")
PYTHON
  mv -- "$scratch"/{train,val,test_2016_flickr}.{en,de} "$scratch/spm.model" "$scratch/data/"
  mv -- "$scratch/data" "$dir/data"
}

train() {
  local dir=$1 updates=$2 size
  local layers d_model d_ff heads dropout batch_tokens smoothing peak_rate warmup
  cd -- "$dir"  # paths then need no quoting, which Marian's options do not support
  [[ -r data/vocab.yml ]] || fail "no data in $dir/data: run prepare first"
  size=$(venv/bin/python "$contract" size "$3")
  eval "$size"
  scratch=$(mktemp -d train.XXXXXX)

  local threads=$OMP_NUM_THREADS
  OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 venv/bin/python "$contract" run marian "$updates" train.log \
    'Up\. (?P<update>[0-9]+) .* (?P<rate>[0-9.]+) words/s' \
    venv/bin/python -c 'import sys, _pymarian; sys.exit(_pymarian.Trainer(" ".join(sys.argv[1:])).train())' \
    --type transformer --cpu-threads "$threads" --seed 1 \
    --model "$scratch/model.npz" --train-sets data/train.bpe.en data/train.bpe.de --vocabs data/vocab.yml data/vocab.yml \
    --tied-embeddings-all --enc-depth "$layers" --dec-depth "$layers" --dim-emb "$d_model" \
    --transformer-dim-ffn "$d_ff" --transformer-heads "$heads" --transformer-dropout "$dropout" \
    --label-smoothing "$smoothing" --cost-type ce-sum --disp-label-counts \
    --learn-rate "$peak_rate" --lr-warmup "${warmup}u" --lr-decay-inv-sqrt "${warmup}u" \
    --optimizer-params 0.9 0.98 1e-09 --clip-norm 0 \
    --mini-batch-words "$batch_tokens" --mini-batch 1000 --maxi-batch 29 --workspace 1000 --max-length 128 \
    --after-batches "$updates" --disp-freq 10u --lr-report --save-freq 0u
}

case $1 in
  setup) setup "$2" ;;
  prepare) prepare "$2" "$3" ;;
  train) train "$2" "$3" "${4:-tiny}" ;;
esac
