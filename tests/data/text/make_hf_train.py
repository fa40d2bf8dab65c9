#!/usr/bin/env python3
"""Writes hf_train.json: what Hugging Face tokenizers 0.23.3 learns from train_sample.txt.

Run here as  python3 make_hf_train.py  with the package tokenizers installed.  train_sample.txt is the
first part of the King James Bible, in the public domain, and a few lines that make ties and overlaps.
"""
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

with open("train_sample.txt", encoding="utf-8", newline="") as f:
    text = f.read()
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(vocab_size=700, min_frequency=2, show_progress=False,
                              special_tokens=["<|endoftext|>", "<pad>"],
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train_from_iterator([text], trainer)
tokenizer.save("hf_train.json")
