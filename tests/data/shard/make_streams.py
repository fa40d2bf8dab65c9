#!/usr/bin/env python3
"""Makes the token streams of tests/cli/shard.bats from the text of lib/shard/FORMAT.md alone, so they
also check the reader against a second implementation.  Needs the zstd program.

docs.lts   300 documents, 16-bit ids, end-of-text 0     book.lts  one document of 20000 tokens
wide.lts   40 documents, 32-bit ids, no end-of-text     other.lts docs of another tokenizer
Beside each NAME.lts stands NAME.ids: a document a line."""
import os, random, struct, subprocess

M = (1 << 64) - 1
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                      0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & M


def mix(acc, lane):
    return rotl((acc + lane * P2) & M, 31) * P1 & M


def xxh64(data, seed):
    n, at = len(data), 0
    if n >= 32:
        acc = [(seed + P1 + P2) & M, (seed + P2) & M, seed, (seed - P1) & M]
        while n - at >= 32:
            lanes = struct.unpack_from("<4Q", data, at)
            acc = [mix(a, x) for a, x in zip(acc, lanes)]
            at += 32
        h = (rotl(acc[0], 1) + rotl(acc[1], 7) + rotl(acc[2], 12) + rotl(acc[3], 18)) & M
        for a in acc:
            h = ((h ^ mix(0, a)) * P1 + P4) & M
    else:
        h = (seed + P5) & M
    h = (h + n) & M
    while n - at >= 8:
        h = (rotl(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & M
        at += 8
    if n - at >= 4:
        h = (rotl(h ^ (struct.unpack_from("<I", data, at)[0] * P1 & M), 23) * P2 + P3) & M
        at += 4
    for b in data[at:]:
        h = rotl(h ^ (b * P5 & M), 11) * P1 & M
    h = (h ^ (h >> 33)) * P2 & M
    h = (h ^ (h >> 29)) * P3 & M
    return h ^ (h >> 32)


def checksum(data, seed):
    return struct.pack("<I", xxh64(data, seed) & 0xFFFFFFFF)


def stream(name, docs, vocab, eot, tokenizer):
    here = os.path.dirname(os.path.abspath(__file__))
    none = 0xFFFFFFFF
    size = 2 if vocab <= 65536 else 4
    with open("/tmp/tokenizer.json", "wb") as f:
        f.write(b'{"version": "1.0", "name": "test"}\n')
    packed = subprocess.check_output(["zstd", "-q", "-c", "/tmp/tokenizer.json"])
    head = b"LTTS" + bytes([1, 0, size, 0])
    head += struct.pack("<IIII", vocab, none if eot is None else eot, none, len(packed))
    head += tokenizer + checksum(packed, 0)
    out = head + checksum(head, 0) + packed
    block, ends, n_blocks, n_tokens = [], [], 0, 0

    def flush():
        body = struct.pack("<II", len(block), len(ends)) + struct.pack("<%dI" % len(ends), *ends)
        body += struct.pack("<%d%s" % (len(block), "H" if size == 2 else "I"), *block)
        return body + checksum(body, n_blocks)

    for doc in docs:
        for token in doc:
            if 12 + 4 * (len(ends) + 1) + size * (len(block) + 1) > 1 << 20:
                out += flush()
                n_blocks += 1
                block, ends = [], []
            block.append(token)
            n_tokens += 1
        ends.append(len(block))
    if block:
        out += flush()
        n_blocks += 1
    end = struct.pack("<IIQQ", none, 0, n_tokens, len(docs))
    out += end + checksum(end, n_blocks)
    with open(os.path.join(here, name + ".lts"), "wb") as f:
        f.write(out)
    with open(os.path.join(here, name + ".ids"), "w") as f:
        for doc in docs:
            f.write(" ".join(map(str, doc)) + "\n")


def documents(rng, n, longest, vocab, eot):
    docs = []
    for _ in range(n):
        doc = [min(int(rng.paretovariate(0.6)), vocab - 1) for _ in range(rng.randrange(1, longest))]
        docs.append(doc + ([] if eot is None else [eot]))
    return docs


rng = random.Random(1)
stream("docs", documents(rng, 300, 40, 50257, 0), 50257, 0, bytes(range(32)))
stream("book", [documents(rng, 1, 2, 50257, None)[0] * 1 +
                [min(int(rng.paretovariate(0.6)), 50256) for _ in range(19998)] + [0]],
       50257, 0, bytes(range(32)))
stream("wide", documents(rng, 40, 50, 100000, None), 100000, None, bytes(range(32)))
stream("other", documents(rng, 5, 10, 50257, 0), 50257, 0, bytes(range(1, 33)))
