#!/usr/bin/env bash
# The peer fairseq 0.12.3 (as fairseq-fixed), measured on the CPU.
#
#   fairseq.sh setup DIR                    make the virtual environment DIR/venv
#   fairseq.sh prepare DIR DATA             DATA/*.lc.norm.tok.{en,de}.gz -> DIR/bin (en-de)
#   fairseq.sh train DIR UPDATES [SIZE]     train a model of a size in contract.py (default: tiny), print the result
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
  "$dir/venv/bin/python" - "$scratch" <<'PYTHON'
import sys
from pathlib import Path

import sentencepiece

folder = Path(sys.argv[1])
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
  local dir=$1 updates=$2 size
  local layers d_model d_ff heads dropout batch_tokens smoothing peak_rate warmup
  [[ -r $dir/bin/dict.de.txt ]] || fail "no data in $dir/bin: run prepare first"
  size=$("$dir/venv/bin/python" "$contract" size "$3")
  eval "$size"
  # An empty checkpoint folder, so that fairseq does not resume.
  scratch=$(mktemp -d "$dir/train.XXXXXX")

  "$dir/venv/bin/python" "$contract" run fairseq "$updates" "$dir/train.log" \
    'train_inner .*"wps": "(?P<rate>[0-9.]+)".*"num_updates": "(?P<update>[0-9]+)"' \
    "$dir/venv/bin/fairseq-train" "$dir/bin" \
    --cpu --seed 1 --source-lang en --target-lang de \
    --arch transformer --share-all-embeddings --dropout "$dropout" \
    --encoder-layers "$layers" --encoder-embed-dim "$d_model" --encoder-ffn-embed-dim "$d_ff" \
    --encoder-attention-heads "$heads" \
    --decoder-layers "$layers" --decoder-embed-dim "$d_model" --decoder-ffn-embed-dim "$d_ff" \
    --decoder-attention-heads "$heads" \
    --criterion label_smoothed_cross_entropy --label-smoothing "$smoothing" \
    --optimizer adam --adam-betas '(0.9, 0.98)' \
    --lr "$peak_rate" --lr-scheduler inverse_sqrt --warmup-updates "$warmup" \
    --max-tokens "$batch_tokens" --update-freq 1 --max-update "$updates" \
    --disable-validation --no-save --save-dir "$scratch" \
    --log-format json --log-interval 10
}

case $1 in
  setup) setup "$2" ;;
  prepare) prepare "$2" "$3" ;;
  train) train "$2" "$3" "${4:-tiny}" ;;
esac
