# Shared by the other scripts, which source it.
set -euo pipefail
unset CDPATH  # with CDPATH, cd may print

peer=$(basename -- "$0" .sh)
contract=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/contract.py

fail() {
  echo "$peer.sh: $*" >&2
  exit 1
}

usage() {
  echo "usage: $peer.sh setup DIR | prepare DIR DATA | train DIR UPDATES [tiny|small|base]" >&2
  if declare -F learn >/dev/null; then
    echo "       $peer.sh learn DIR FOLDER | translate DIR MODEL ..." >&2
  fi
  exit 2
}

scratch=
cleanup() {
  if [[ -n $scratch ]]; then rm -rf -- "$scratch"; fi
}
trap cleanup EXIT

# Isolate from the caller's Python environment.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
export MKL_NUM_THREADS=$OMP_NUM_THREADS

# corpus PYTHON DATA FOLDER: writes the texts as FOLDER/SPLIT.LANG, and FOLDER/spm.model, 10,000 joint subwords.
corpus() {
  local python=$1 data=$2 folder=$3 split lang
  for split in train val test_2016_flickr; do
    for lang in en de; do
      [[ -r $data/$split.lc.norm.tok.$lang.gz ]] || fail "missing file: $data/$split.lc.norm.tok.$lang.gz"
      gzip -dc -- "$data/$split.lc.norm.tok.$lang.gz" >"$folder/$split.$lang"
    done
  done
  "$python" - "$folder" <<'PYTHON'
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
PYTHON
}

# split_subwords PYTHON FOLDER: writes the texts of `corpus` as FOLDER/data/SPLIT.bpe.LANG, with spaces between subwords.
split_subwords() {
  mkdir -p -- "$2/data"
  "$1" - "$2" <<'PYTHON'
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
PYTHON
}

# run_command COMMAND DIR ...: checks the arguments and calls the function of that name, which the script defines.
run_command() {
  (($# >= 2)) || usage
  case $1 in
    setup) (($# == 2)) || usage ;;
    prepare) (($# == 3)) || usage ;;
    train) (($# == 3 || $# == 4)) || usage ;;
    learn) (($# == 3)) && declare -F learn >/dev/null || usage ;;
    translate) (($# >= 3)) && declare -F translate >/dev/null || usage ;;
    *) usage ;;
  esac
  "$@"
}
