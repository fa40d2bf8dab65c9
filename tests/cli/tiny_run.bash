# tiny_run.bash - a tiny model and real text in a fresh folder for each test: `load tiny_run`.

load corpus

setup_file() {
    make_corpus --split train=0.8,val=0.2 --split-by tokens:256
}

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR"
    cp -r "$BATS_FILE_TMPDIR/data" data
    cat >t.yaml <<'END'
model:
  name: gpt2
  vocab_size: 512
  n_positions: 32
  n_layer: 2
  n_head: 2
  n_embd: 16
training:
  steps: 20
  batch_size: 2
  gradient_accumulation_steps: 2
  lr: 1.0e-2
  warmup_steps: 2
  eval_every_steps: 10
  eval_batches: 2
checkpoint: { dir: ck, every_steps: 5, keep_last: 2 }
logging: { dir: logs, every_steps: 5 }
END
}

metric() { # NAME: that number of every step that has it, one a line
    jq -r "select(.$1 != null) | .$1" "${2:-logs}/metrics.jsonl"
}
