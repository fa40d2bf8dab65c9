#!/usr/bin/env python3
"""Writes unicode_class.bin: two bits of class for every code point (layout: unicode_class.h).

Run as  python3 make_unicode_class.py > unicode_class.bin  with the package unicodedata2 16.0.0
installed.  The version is part of every tokenizer's hash, so another one is refused here; 16.0 is
what tiktoken 0.14 and Hugging Face tokenizers 0.23 use.
"""
import sys

import unicodedata2

VERSION = "16.0.0"
BLOCK = 256  # code points
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B),
               0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def classify(cp):
    if cp in WHITE_SPACE:
        return 3
    return {"L": 1, "N": 2}.get(unicodedata2.category(chr(cp))[0], 0)


def main():
    if unicodedata2.unidata_version != VERSION:
        sys.exit(f"unicodedata2 holds Unicode {unicodedata2.unidata_version}, wanted {VERSION}")
    index, blocks = [], {}
    for first in range(0, 0x110000, BLOCK):
        block = bytearray(BLOCK // 4)
        for i in range(BLOCK):
            block[i // 4] |= classify(first + i) << (i % 4 * 2)
        index.append(blocks.setdefault(bytes(block), len(blocks)))
    assert len(blocks) <= 256
    sys.stdout.buffer.write(bytes(index) + b"".join(blocks))


main()
