#!/usr/bin/env python3
"""Writes gpt2_merges.bin: GPT-2's 50,000 merges as pairs of little-endian 16-bit token ids.

Run as  python3 make_gpt2_merges.py vocab.bpe encoder.json > gpt2_merges.bin  with the two files of
OpenAI's GPT-2 release (MIT).  Ids 0-255 are the bytes in the order of the printable alphabet, merge
r makes id 256 + r, <|endoftext|> is 50256: the script checks that encoder.json says the same, so
nothing but the merges need be kept.
"""
import json
import struct
import sys


def main(merges_path, ids_path):
    with open(ids_path, encoding="utf-8") as f:
        ids = json.load(f)
    with open(merges_path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    assert lines[0].startswith("#version")
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    for i, b in enumerate(printable + others):
        assert ids[chr(b if i < len(printable) else 256 + i - len(printable))] == i
    merges = [line.split(" ") for line in lines[1:] if line]
    assert len(merges) == 50000 and ids["<|endoftext|>"] == 50256 and len(ids) == 50257
    for rank, (left, right) in enumerate(merges):
        assert ids[left + right] == 256 + rank
        sys.stdout.buffer.write(struct.pack("<HH", ids[left], ids[right]))


main(*sys.argv[1:])
