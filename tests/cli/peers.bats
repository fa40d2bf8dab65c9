#!/usr/bin/env bats
# tests/peers: PyTorch trained on lt's own batches from lt's own weights; how far two runs are apart.
# PYTHON names an interpreter that has torch and numpy; without them the comparison is skipped.

bats_require_minimum_version 1.5.0

setup() {
    peers="$BATS_TEST_DIRNAME/../peers"
    text="${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/text/train_sample.txt"
    cd "$BATS_TEST_TMPDIR"
}

@test "peers: compare_losses.py, within the bounds and over them" {
    for i in 1 2 3 4; do
        printf '{"step": %d, "loss": %d.5, "lr": 1}\n' $i $i >>a.jsonl
        printf '%d %d.505 0.9 1e-3\n' $i $i >>b.txt
    done
    printf '{"step": 4, "val_loss": 9}\n' >>a.jsonl
    python3 "$peers/compare_losses.py" a.jsonl b.txt --last 2 | jq -e '
        .steps == 4 and .last == 2 and .mean_last[0] == 4 and (.mean_difference - 0.005 | fabs) < 1e-9'
    run python3 "$peers/compare_losses.py" a.jsonl b.txt --bound-last 0.004
    [ "$status" -eq 1 ]
    run python3 "$peers/compare_losses.py" a.jsonl b.txt --bound-mean 0.004
    [ "$status" -eq 1 ]
    printf '5 1 1 1\n' >>b.txt
    run python3 "$peers/compare_losses.py" a.jsonl b.txt
    [ "$status" -eq 1 ]
    [[ "$output" == *"a.jsonl has 4 steps, b.txt 5: not the same ones"* ]]
}

@test "peers: PyTorch in fp32 has the losses of lt-train, 20 steps" {
    python=${PYTHON:-python3}
    "$python" -c 'import numpy, torch' 2>/dev/null || skip "no torch"
    lt-tokenize --train --vocab-size 513 -o tokenizer.json "$text"
    lt-tokenize --tokenizer tokenizer.json "$text" | lt-shard --out data --split train=0.8,val=0.2 --split-by tokens:256 -
    cat >c.yaml <<'END'
model: { name: gpt2, vocab_size: 513, n_positions: 32, n_layer: 2, n_head: 2, n_embd: 32 }
training: { steps: 20, batch_size: 2, gradient_accumulation_steps: 2, lr: 3.0e-3, warmup_steps: 5, eval_every_steps: 0 }
checkpoint: { dir: ck }
logging: { dir: logs, every_steps: 5 }
END
    lt-bench init c.yaml -o start
    lt-bench batches c.yaml -o c.batches
    lt-train c.yaml -q --model.path=start --model.name=
    "$python" "$peers/gpt2_torch.py" --init start/model.safetensors --batches c.batches --losses losses.txt \
        --lr 3e-3 --warmup-steps 5 --threads 1 --json >peer.json
    jq -e '.seq == 32 and .batch == 2 and .accumulation == 2' peer.json
    python3 "$peers/compare_losses.py" logs/metrics.jsonl losses.txt --bound-last 1e-5 --bound-mean 1e-5 |
        jq -e '.largest_difference < 1e-4'
    run "$python" "$peers/gpt2_torch.py" --init start/model.safetensors --batches c.batches --losses x --lr 1e-3
    [ "$status" -eq 1 ]
    [[ "$output" == *"are not those of the configuration"* ]]
}
