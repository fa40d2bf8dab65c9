# corpus.bash - a few kB of real text and its shards, for bats files that need some: `load corpus`.

text="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/text/train_sample.txt"

make_corpus() { # LT-SHARD-OPTION...: tokenizer.json, corpus.tok and data/ in $BATS_FILE_TMPDIR
    cd "$BATS_FILE_TMPDIR" || return
    lt-tokenize --train --vocab-size 512 -o tokenizer.json "$text"
    lt-tokenize --tokenizer tokenizer.json -o corpus.tok "$text"
    lt-shard --out data "$@" corpus.tok
}
