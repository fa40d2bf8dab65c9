#!/usr/bin/env bats
# One set of binaries for every machine: no CUDA library is linked, and where there is no GPU asking
# for one is an error in one sentence.

bats_require_minimum_version 1.5.0

setup() {
    text="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/text/train_sample.txt"
    cd "$BATS_TEST_TMPDIR"
}

# A GPU's driver may be here, and may then work.
skip_with_driver() {
    ! ldconfig -p | grep -q 'libcuda\.so' || skip "there is an NVIDIA driver"
}

is_one_sentence() { # TOOL
    [ "$status" -eq 1 ]
    [ "$(grep -c 'error: ' <<<"$output")" -eq 1 ]
    [[ "${lines[-1]}" == "$1: error: device: cuda: "*"or use device: cpu" ]]
}

@test "cuda: the binaries name no CUDA library" {
    for tool in lt-tokenize lt-shard lt-train lt-ckpt-merge lt-bench; do
        path=$(command -v $tool)
        ldd "$path" >libraries
        grep -q 'libc\.so' libraries
        run ! grep -E 'libcu|libnccl|libnv' libraries
    done
}

@test "cuda: without a GPU lt-train fails with one sentence and auto takes the CPU" {
    skip_with_driver
    lt-tokenize --train --vocab-size 300 -o tokenizer.json "$text"
    lt-tokenize --tokenizer tokenizer.json -o corpus.tok "$text"
    lt-shard --out data --split train=1 corpus.tok
    cat >t.yaml <<'END'
model: { name: gpt2, vocab_size: 300, n_positions: 16, n_layer: 1, n_head: 1, n_embd: 8 }
training: { steps: 1, batch_size: 1 }
END
    run lt-train t.yaml --device=cuda
    is_one_sentence lt-train
    [ ! -e checkpoints ] # nothing was begun
    [ ! -e logs ]
    lt-train t.yaml --device=auto
}

@test "cuda: without a GPU lt-bench fails with one sentence" {
    skip_with_driver
    run lt-bench train --device=cuda
    is_one_sentence lt-bench
    run lt-bench ops --device=cuda
    is_one_sentence lt-bench
}
