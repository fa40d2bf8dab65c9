#!/usr/bin/env python3
"""Writes schedule_table.h: learning rates and momenta that test_schedule.c expects.

Each curve is stated here as a walk: a scheduler keeps an index that starts at -1, the optimizer
steps with the rate of the present index, then the index moves on.  optim/schedule.c has closed
forms instead, so the two share no arithmetic.  Run: python3 make_schedule_table.py > schedule_table.h
"""
from math import cos, floor, log, pi


def ours(s, step):
    if step <= s["warmup_steps"]:
        return s["lr"] / s["warmup_steps"] * step
    if s["kind"] == "CONSTANT":
        return s["lr"]
    if step >= s["total_steps"]:
        return s["min_lr"]
    x = (step - s["warmup_steps"]) / (s["total_steps"] - s["warmup_steps"])
    up = (1 + cos(pi * x)) / 2 if s["kind"] == "COSINE" else 1 - x
    return s["lr"] * up + s["min_lr"] * (1 - up)


def rising(s, i, n):
    return log(i + 1, n) if s["warmup_log"] else i / n


def warmup(s, i):
    low, high = s.get("warmup_min_lr", 0), s["warmup_max_lr"]
    n = max(2, s["warmup_steps"])
    if i == -1:
        return low
    if i < n:
        part = rising(s, i, n)
    elif s["kind"] == "DS_WARMUP":
        part = 1
    else:
        end = s.get("total_num_steps") or s["total_steps"]
        part = max(0, (end - i) / max(1, end - n))
    return low * (1 - part) + high * part


def warmup_cosine(s, i):
    n = max(2, s["warmup_steps"])
    end = s.get("total_num_steps") or s["total_steps"]
    if i == -1:
        return 0
    if i < n:
        low = s.get("warmup_min_ratio", 0)
        return s["lr"] * (low + (1 - low) * rising(s, i, n))
    x = min(1, (i + 1 - n) / max(1, end - n))
    low = s["cos_min_ratio"]
    return s["lr"] * (low + (1 - low) * (1 + cos(pi * x)) / 2)


def cycle_part(s, turn):
    """0 .. 1 .. 0 over one cycle; turn counts from 0"""
    first = s["cycle_first_step_size"]
    second = s.get("cycle_second_step_size") or first
    if turn <= first:
        size, at, stairs = first, turn, s.get("cycle_first_stair_count", 0)
    else:
        size, at, stairs = second, first + second - turn, s.get("cycle_second_stair_count", 0)
    return (at * stairs // size) / stairs if stairs else at / size


def one_cycle(s, i):
    first = s["cycle_first_step_size"]
    total = first + (s.get("cycle_second_step_size") or first)
    low, high = s["cycle_min_lr"], s["cycle_max_lr"]
    m_low, m_high = s.get("cycle_min_mom", 0), s.get("cycle_max_mom", 0)
    if i == -1:
        return low, m_low
    if i < total:
        part = cycle_part(s, (i + 1) % total)
        return low * (1 - part) + high * part, m_high * (1 - part) + m_low * part
    every = s.get("decay_step_size", 0)
    periods = (i - total + 1) / every if every else 0
    return (low / (1 + s.get("decay_lr_rate", 0) * periods),
            m_high * (1 + s.get("decay_mom_rate", 0) * periods))


def range_test(s, i):
    periods = (i + 1) / s["lr_range_test_step_size"]
    if s.get("lr_range_test_staircase"):
        periods = floor(periods)
    low = s["lr_range_test_min_lr"]
    return low + low * s["lr_range_test_step_rate"] * periods


def at(s, step):
    """(rate, momentum) of one optimizer step; momentum -1: not cycled"""
    kind, i = s["kind"], step - 2
    if kind == "DS_ONE_CYCLE":
        rate, momentum = one_cycle(s, i)
        return rate, momentum if s.get("cycle_momentum") else -1
    if kind == "DS_WARMUP_COSINE":
        return warmup_cosine(s, i), -1
    if kind.startswith("DS_WARMUP"):
        return warmup(s, i), -1
    if kind == "DS_RANGE_TEST":
        return range_test(s, i), -1
    return ours(s, step), -1


def case(kind, steps, **fields):
    return dict(kind=kind, **fields), steps


LONG = [1, 2, 3, 4, 9, 10, 11, 12, 13, 50, 99, 100, 101, 102, 103, 1000]
SHORT = list(range(1, 17))
OURS = dict(lr=6e-4, min_lr=6e-5, warmup_steps=10, total_steps=100)
WARM = dict(warmup_steps=10, warmup_log=1, warmup_min_lr=1e-5, warmup_max_lr=1e-3, total_steps=100)
COS = dict(lr=2e-3, warmup_steps=10, warmup_log=1, cos_min_ratio=1e-4, total_steps=100)
CYCLE = dict(cycle_min_lr=1e-4, cycle_max_lr=1e-3, cycle_first_step_size=7, total_steps=16)
MOMENTUM = dict(cycle_momentum=1, cycle_min_mom=0.8, cycle_max_mom=0.9)
TEST = dict(lr_range_test_min_lr=1e-3, lr_range_test_step_size=3, lr_range_test_step_rate=5.0)

CASES = [
    case("COSINE", LONG, **OURS),
    case("LINEAR", LONG, **OURS),
    case("CONSTANT", LONG, **OURS),
    case("COSINE", LONG, **{**OURS, "warmup_steps": 0}),
    case("LINEAR", LONG, **{**OURS, "warmup_steps": 200}),
    case("DS_WARMUP", LONG, **WARM),
    case("DS_WARMUP", LONG, **{**WARM, "warmup_log": 0}),
    case("DS_WARMUP", SHORT, **{**WARM, "warmup_steps": 1}),
    case("DS_WARMUP_DECAY", LONG, **WARM),
    case("DS_WARMUP_DECAY", LONG, **{**WARM, "warmup_log": 0, "total_num_steps": 50}),
    case("DS_WARMUP_DECAY", SHORT, **{**WARM, "total_steps": 5}),
    case("DS_WARMUP_COSINE", LONG, **COS),
    case("DS_WARMUP_COSINE", LONG, **{**COS, "warmup_log": 0, "warmup_min_ratio": 0.25}),
    case("DS_WARMUP_COSINE", SHORT, **{**COS, "total_num_steps": 10}),
    case("DS_ONE_CYCLE", SHORT, **CYCLE),
    case("DS_ONE_CYCLE", SHORT, **CYCLE, **MOMENTUM, cycle_second_step_size=3, decay_step_size=2,
         decay_lr_rate=0.5, decay_mom_rate=0.01),
    case("DS_ONE_CYCLE", SHORT, **CYCLE, **MOMENTUM, cycle_second_step_size=6,
         cycle_first_stair_count=7, cycle_second_stair_count=4),
    case("DS_ONE_CYCLE", SHORT, **CYCLE, **MOMENTUM, cycle_first_stair_count=3, decay_lr_rate=1.0),
    case("DS_RANGE_TEST", SHORT, **TEST),
    case("DS_RANGE_TEST", SHORT, **TEST, lr_range_test_staircase=1),
]

print("/* schedule_table.h - written by make_schedule_table.py: what each curve is at some steps. */")
print("/* clang-format off */")
print("static const schedule_case schedule_cases[] = {")
for fields, steps in CASES:
    rows = [at(fields, step) for step in steps]
    line = f"    {{ {{ .kind = LT_LR_{fields['kind']}"
    for field in (f".{k} = {v}" for k, v in fields.items() if k != "kind"):
        if len(line) + len(field) > 90:
            print(line + ",")
            line = " " * 8 + field
        else:
            line += ", " + field
    print(line + " }, {")
    for step, (rate, momentum) in zip(steps, rows):
        print(f"        {{ {step}, {float(rate)!r}, {float(momentum)!r} }},")
    print("    } },")
print("};")
