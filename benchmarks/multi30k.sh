#!/usr/bin/env bash
# Quality in a given time: trains and scores a translator on Multi30k en-de, starting from text.
#
#   multi30k.sh DATA RUN [MINUTES] [ARGUMENT ...]
#
# DATA: a folder with {train,val,test_2016_flickr}.lc.norm.tok.{en,de}.gz. MINUTES: wall-clock time (default: 45).
# Further arguments are passed to `allyouneed train`, for example --set training.seed=2. Scores are on tokenised text, as
# in the literature, with beam 5.
set -euo pipefail

if (($# < 2)); then
  echo "usage: multi30k.sh DATA RUN [MINUTES] [ARGUMENT ...]" >&2
  exit 2
fi
data=$1 run=$2 minutes=${3:-45}
shift $(($# < 3 ? $# : 3))

pair() { echo "$data/$1.lc.norm.tok.en.gz" "$data/$1.lc.norm.tok.de.gz"; }

# shellcheck disable=SC2046 # pair prints two arguments
time allyouneed train --from en --to de --train $(pair train) --valid $(pair val) \
  --recipe tiny --minutes "$minutes" --out "$run" "$@"
# shellcheck disable=SC2046
time allyouneed evaluate "$run" --test $(pair test_2016_flickr) --beam-size 5 --tokenized
