#!/usr/bin/env python3
"""Two runs over the same steps: how far apart are their losses?

    compare_losses.py logs-fp32/metrics.jsonl losses.txt [--last 100] [--bound-last 0.01] [--bound-mean 0.02]

Each file is metrics.jsonl of lt-train or the --losses of gpt2_torch.py.  Prints the mean loss of the last steps of
both, their difference, the mean and the largest |difference| over all steps; exit 1 over a bound.
"""
import argparse
import json
import sys


def losses(path):
    out = {}
    with open(path) as f:
        for line in f:
            if line.startswith("{"):
                x = json.loads(line)
                if "loss" in x and "step" in x:
                    out[x["step"]] = x["loss"]
            else:
                step, loss = line.split()[:2]
                out[int(step)] = float(loss)
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("files", nargs=2)
    ap.add_argument("--last", type=int, default=100)
    ap.add_argument("--bound-last", type=float, default=0.01)
    ap.add_argument("--bound-mean", type=float, default=0.02)
    a = ap.parse_args()
    one, two = (losses(p) for p in a.files)
    if not one or one.keys() != two.keys():
        sys.exit(f"{a.files[0]} has {len(one)} steps, {a.files[1]} {len(two)}: not the same ones")
    steps = sorted(one)
    last = steps[-a.last:]
    means = [sum(x[s] for s in last) / len(last) for x in (one, two)]
    apart = [abs(one[s] - two[s]) for s in steps]
    mean = sum(apart) / len(apart)
    print(json.dumps({"steps": len(steps), "last": len(last), "mean_last": means, "difference_last": abs(means[0] - means[1]),
                      "mean_difference": mean, "largest_difference": max(apart)}))
    sys.exit(not (abs(means[0] - means[1]) < a.bound_last and mean < a.bound_mean))


if __name__ == "__main__":
    main()
