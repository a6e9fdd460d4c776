#!/usr/bin/env bash
# The peer fairseq 0.12.3 (as fairseq-fixed), measured on the CPU with 2 threads.
#
#   fairseq.sh setup DIR            make the virtual environment DIR/venv
#   fairseq.sh prepare DIR DATA     DATA/*.lc.norm.tok.{en,de}.gz -> DIR/bin (en-de)
#   fairseq.sh train DIR UPDATES    train Transformer-Tiny, print the target tokens a second
#
# setup builds C++ extensions, so it needs a C++ compiler; PYTHON names the Python 3.11 to use.
# train shows fairseq's log on stderr (kept in DIR/train.log) and one line on stdout:
#   fairseq target_tokens_per_second=NNNN updates=U
# That is the median of fairseq's own "wps" (target tokens, end-of-sentence included, padding not)
# over the log intervals of 10 updates after the first 20.
set -euo pipefail

fail() {
  echo "fairseq.sh: $*" >&2
  exit 1
}

usage() {
  echo "usage: fairseq.sh setup DIR | prepare DIR DATA | train DIR UPDATES" >&2
  exit 2
}

scratch=
cleanup() {
  if [[ -n $scratch ]]; then rm -rf -- "$scratch"; fi
}
trap cleanup EXIT

# Nothing of the caller's Python may leak in.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1
# fairseq's checkpoints hold more than tensors, which today's torch.load refuses by default.
export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1

setup() {
  local dir=$1
  mkdir -p -- "$dir"
  "${PYTHON:-python3.11}" -m venv "$dir/venv"
  local pip=("$dir/venv/bin/python" -m pip install --disable-pip-version-check)

  # Everything fairseq needs (and torch needs), pinned. torchaudio, which fairseq-fixed asks for
  # and which translation does not use, is left out: hence --no-deps below.
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
  # Its build asks for any torch from 1.10 on; without isolation it is built with the torch above.
  "${pip[@]}" --no-deps --no-build-isolation fairseq-fixed==0.12.3.1
  "$dir/venv/bin/python" -c 'import fairseq.data.data_utils_fast, fairseq_cli.train, sentencepiece'
}

prepare() {
  local dir=$1 data=$2 split lang
  [[ -x $dir/venv/bin/fairseq-preprocess ]] || fail "no fairseq in $dir/venv: run setup first"
  [[ ! -e $dir/bin ]] || fail "$dir/bin exists: remove it to prepare again"
  for split in train val test_2016_flickr; do
    for lang in en de; do
      [[ -r $data/$split.lc.norm.tok.$lang.gz ]] || fail "no $data/$split.lc.norm.tok.$lang.gz"
    done
  done
  scratch=$(mktemp -d "$dir/prepare.XXXXXX")

  for split in train val test_2016_flickr; do
    for lang in en de; do
      gzip -dc -- "$data/$split.lc.norm.tok.$lang.gz" >"$scratch/$split.$lang"
    done
  done
  "$dir/venv/bin/python" - "$scratch" <<'PYTHON'
import sys
from pathlib import Path

import sentencepiece

folder = Path(sys.argv[1])
sentencepiece.SentencePieceTrainer.train(
    input=[str(folder / "train.en"), str(folder / "train.de")],
    model_prefix=str(folder / "spm"),
    model_type="bpe",
    vocab_size=10000,
    character_coverage=1.0,
    minloglevel=1,
)
pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
for split in ("train", "val", "test_2016_flickr"):
    for lang in ("en", "de"):
        with (
            open(folder / f"{split}.{lang}", encoding="utf-8", newline="\n") as source,
            open(folder / f"{split}.bpe.{lang}", "w", encoding="utf-8", newline="\n") as target,
        ):
            for line in source:
                target.write(" ".join(pieces.encode(line.rstrip("\n"), out_type=str)) + "\n")
PYTHON
  "$dir/venv/bin/fairseq-preprocess" \
    --source-lang en --target-lang de --joined-dictionary --workers 2 \
    --trainpref "$scratch/train.bpe" --validpref "$scratch/val.bpe" \
    --testpref "$scratch/test_2016_flickr.bpe" --destdir "$scratch/bin" >&2
  cp -- "$scratch/spm.model" "$scratch/bin/"
  mv -- "$scratch/bin" "$dir/bin"
}

train() {
  local dir=$1 updates=$2
  [[ $updates =~ ^[1-9][0-9]*$ ]] || fail "UPDATES is to be a number, not '$updates'"
  ((updates >= 30)) || fail "UPDATES is to be at least 30: the first 20 are not counted"
  [[ -r $dir/bin/dict.de.txt ]] || fail "no data in $dir/bin: run prepare first"
  # An empty folder for checkpoints, so that there is none to go on from.
  scratch=$(mktemp -d "$dir/train.XXXXXX")

  OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 "$dir/venv/bin/fairseq-train" "$dir/bin" \
    --cpu --seed 1 --source-lang en --target-lang de \
    --arch transformer --share-all-embeddings --dropout 0.3 \
    --encoder-layers 4 --encoder-embed-dim 128 --encoder-ffn-embed-dim 256 \
    --encoder-attention-heads 4 \
    --decoder-layers 4 --decoder-embed-dim 128 --decoder-ffn-embed-dim 256 \
    --decoder-attention-heads 4 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' \
    --lr 0.005 --lr-scheduler inverse_sqrt --warmup-updates 2000 \
    --max-tokens 4096 --update-freq 1 --max-update "$updates" \
    --disable-validation --no-save --save-dir "$scratch" \
    --log-format json --log-interval 10 2>&1 | tee -- "$dir/train.log" >&2

  "$dir/venv/bin/python" - "$dir/train.log" "$updates" <<'PYTHON'
import json
import statistics
import sys

path, updates = sys.argv[1], int(sys.argv[2])
speeds, last = [], 0
with open(path, encoding="utf-8") as log:
    for line in log:
        _, mark, stats = line.partition("| train_inner | ")
        if not mark:
            continue
        stats = json.loads(stats)
        last = int(stats["num_updates"])
        if last >= 30:  # the interval of the updates 21 to 30, and those after it
            speeds.append(float(stats["wps"]))
if not speeds or last != updates - updates % 10:
    sys.exit(f"fairseq.sh: the log {path} ends at update {last} of {updates}")
speed = statistics.median(speeds)
print(f"fairseq target_tokens_per_second={speed:.0f} updates={updates}")
PYTHON
}

case ${1-} in
  setup)
    (($# == 2)) || usage
    setup "$2"
    ;;
  prepare)
    (($# == 3)) || usage
    prepare "$2" "$3"
    ;;
  train)
    (($# == 3)) || usage
    train "$2" "$3"
    ;;
  *) usage ;;
esac
