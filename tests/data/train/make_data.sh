#!/bin/sh
# Makes the data set of tests/train: 280 token ids, trained on and made from text/train_sample.txt.
#   PATH=build/release/bin:$PATH sh tests/data/train/make_data.sh
set -eu
cd "$(dirname "$0")"
text=../text/train_sample.txt
lt-tokenize --train --vocab-size 280 -o tokenizer.json $text
lt-tokenize --tokenizer tokenizer.json -o - $text |
    lt-shard --force --out . --split train=0.8,val=0.2 --split-by tokens:256 -
