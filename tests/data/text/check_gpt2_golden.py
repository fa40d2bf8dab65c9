#!/usr/bin/env python3
"""Checks gpt2_golden.jsonl.zst: 3,000 lines {"text", "ids"} of random Unicode, blanks, contractions,
CJK, emoji, code and long runs, with the ids that tiktoken's encode_ordinary gives.

Run here as  zstd -dc gpt2_golden.jsonl.zst | python3 check_gpt2_golden.py  with the package tiktoken
installed.  The merges come from lib/text/gpt2_merges.bin, so this checks that file as well.
"""
import json
import struct
import sys

import tiktoken

PATTERN = (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++"
           r"|\s++$|\s+(?!\S)|\s")


def ranks():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [bytes([b]) for b in printable + [b for b in range(256) if b not in printable]]
    with open("../../../lib/text/gpt2_merges.bin", "rb") as f:
        for left, right in struct.iter_unpack("<HH", f.read()):
            tokens.append(tokens[left] + tokens[right])
    return {token: rank for rank, token in enumerate(tokens)}


gpt2 = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks(), special_tokens={})
rows = [json.loads(line) for line in sys.stdin]
wrong = sum(gpt2.encode_ordinary(row["text"]) != row["ids"] for row in rows)
print(f"{len(rows)} lines, {wrong} wrong")
sys.exit(wrong != 0 or not rows)
