#!/usr/bin/env python3
"""Makes tests/data/ckpt/tiny-gpt2 with torch, transformers and tokenizers (versions in README.md).

    python3 make_tiny_gpt2.py tests/data/ckpt/tiny-gpt2
A two-layer GPT-2 whose biases and norms are perturbed, with a byte-level BPE tokenizer of 64 tokens.
"""
import pathlib
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)

tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=64, special_tokens=["<|endoftext|>"])
tok.train_from_iterator(["the quick brown fox jumps over the lazy dog, then the dog sleeps"] * 4, trainer)
tok.save(str(out / "tokenizer.json"))

torch.manual_seed(7)
config = GPT2Config(vocab_size=64, n_positions=16, n_embd=12, n_layer=2, n_head=3,
                    bos_token_id=0, eos_token_id=0, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)
model = GPT2LMHeadModel(config)
with torch.no_grad():
    for p in model.parameters():
        p.add_(torch.randn_like(p) * 0.05)
model.save_pretrained(out)
