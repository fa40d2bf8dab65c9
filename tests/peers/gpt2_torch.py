#!/usr/bin/env python3
"""The same training step in PyTorch, to be timed, or trained, beside lt on the same machine.

    gpt2_torch.py --device cuda --precision bf16 --batch 64 --seq 1024 --compile --json

GPT-2 with PyTorch's own best parts: scaled_dot_product_attention (flash), fused AdamW, optional torch.compile,
bf16 autocast, vocabulary padded to 50304, clipping at 1.0; decay on matrices alone; no dropout.  --json prints one
object with the keys of `lt-bench train --json`.

To train on exactly what a run of lt-train reads, from the weights that it starts from:

    lt-bench init c.yaml -o start          lt-bench batches c.yaml -o c.batches
    gpt2_torch.py --init start/model.safetensors --batches c.batches --losses losses.txt --lr 3e-4 --warmup-steps 50

losses.txt gets one line a step: step, loss, gradient norm, learning rate.  Batch, length and steps come from the file
of batches; the learning rate is computed here (linear warm-up, half a cosine to --min-lr) and compared with lt's.

On several GPUs, --batch sequences on each (what lt-bench dataparallel asks for):

    gpt2_torch.py --device cuda --precision bf16 --batch 32 --seq 1024 --parallel ddp --gpus 2 --compile --json

--parallel dp is nn.DataParallel in one process; ddp is DistributedDataParallel, a process for each GPU, which this
script starts itself (or torchrun does), on a CPU over gloo.  Times are the slowest rank's.
"""
import argparse
import json
import math
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F

SIZES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280), "gpt2-xl": (48, 25, 1600)}
VOCABULARY = 50304

# Dense TFLOP/s of the makers' data sheets, half precision and fp32; the table of tools/bench/train_floor.c.
SHEETS = [("H200 NVL", 835.5, 60), ("H200", 989.4, 66.9), ("H100 PCIe", 756.5, 51.2), ("H100 NVL", 835.5, 60),
          ("H100", 989.4, 66.9), ("H800", 989.4, 66.9), ("A100", 312, 19.5), ("A800", 312, 19.5),
          ("GB200", 2500, 80), ("B200", 2250, 75), ("L40S", 362.05, 91.6), ("RTX 4090", 165.2, 82.6)]


class Block(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.fc, self.fcproj = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.fcproj(F.gelu(self.fc(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    """n_vocab ids; the table has `rows` of them, and those behind n_vocab are in no softmax."""

    def __init__(self, layers, heads, c, rows, n_vocab, positions):
        super().__init__()
        self.n_vocab = n_vocab
        self.wte, self.wpe = nn.Embedding(rows, c), nn.Embedding(positions, c)
        self.blocks = nn.ModuleList(Block(c, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(c)
        for p in self.parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.wte.weight)
        if self.n_vocab < logits.shape[-1]:
            logits = logits[..., :self.n_vocab]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), targets.view(-1))


def read_safetensors(path):
    """name -> fp32 array, without a leading "transformer."."""
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        head = json.loads(f.read(n))
        data = f.read()
    out = {}
    for name, x in head.items():
        if name == "__metadata__":
            continue
        if x["dtype"] != "F32":
            raise SystemExit(f"{path}: {name}: expected F32, found {x['dtype']}")
        begin, end = x["data_offsets"]
        out[name.removeprefix("transformer.")] = np.frombuffer(data[begin:end], "<f4").reshape(x["shape"])
    return out


def model_from(path, padded):
    """A model with the weights of a Hugging Face file; its config.json lies beside it."""
    w = read_safetensors(path)
    with open(os.path.join(os.path.dirname(path), "config.json")) as f:
        config = json.load(f)
    n_vocab, c = w["wte.weight"].shape
    rows = (n_vocab + 127) // 128 * 128 if padded else n_vocab
    model = GPT2(config["n_layer"], config["n_head"], c, rows, n_vocab, w["wpe.weight"].shape[0])
    eps = config["layer_norm_epsilon"]

    def put(p, name, turned=False):
        x = torch.from_numpy(w.pop(name).copy())
        p.copy_(x.t() if turned else x)

    with torch.no_grad():
        model.wte.weight.zero_()
        put(model.wte.weight[:n_vocab], "wte.weight")
        put(model.wpe.weight, "wpe.weight")
        for i, b in enumerate(model.blocks):
            for module, name in ((b.norm1, "ln_1"), (b.norm2, "ln_2")):
                module.eps = eps
                put(module.weight, f"h.{i}.{name}.weight")
                put(module.bias, f"h.{i}.{name}.bias")
            for module, name in ((b.qkv, "attn.c_attn"), (b.proj, "attn.c_proj"), (b.fc, "mlp.c_fc"),
                                 (b.fcproj, "mlp.c_proj")):
                put(module.weight, f"h.{i}.{name}.weight", turned=True)
                put(module.bias, f"h.{i}.{name}.bias")
        model.norm.eps = eps
        put(model.norm.weight, "ln_f.weight")
        put(model.norm.bias, "ln_f.bias")
    if w:
        raise SystemExit(f"{path}: {sorted(w)} are not this model's")
    return model


class Batches:
    """What `lt-bench batches` wrote: a line of JSON, then inputs and targets of each step."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.head = json.loads(f.readline())
            offset = f.tell()
        h = self.head
        if h["document_masking"]:
            raise SystemExit(f"{path}: documents are masked; this script does not do that")
        self.data = np.memmap(path, "<i4", "r", offset, (h["steps"], 2, h["sequences"], h["seq_len"]))

    def step(self, i, device):
        x = torch.from_numpy(self.data[i].astype(np.int64)).to(device)
        return x[0], x[1]


def rate(a, step, total):
    """Learning rate of step 1, 2, ...: as lib/optim/schedule.c."""
    if step <= a.warmup_steps:
        return a.lr * step / a.warmup_steps
    left = total - a.warmup_steps
    x = (step - a.warmup_steps) / left if left > 0 else 1.0
    low = a.lr / 10 if a.min_lr is None else a.min_lr
    return low + (a.lr - low) * (0.5 * (1 + math.cos(math.pi * x)) if x < 1 else 0.0)


def make_optimizer(a, model):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": a.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=a.lr, betas=tuple(a.betas), eps=a.eps, fused=True)


def autocast(a):
    return torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.precision == "bf16")


class InAutocast(nn.Module):
    """nn.DataParallel's threads do not inherit the type of autocast: each enters it for itself."""

    def __init__(self, a, model):
        super().__init__()
        self.a, self.model = a, model

    def forward(self, ids, targets):
        with autocast(self.a):
            return self.model(ids, targets)


def in_parallel(a, model):
    """What runs a forward pass; its parameters are the model's own."""
    if a.parallel == "dp" and a.device == "cuda":
        return nn.DataParallel(InAutocast(a, model), device_ids=list(range(a.gpus)))
    if a.parallel == "ddp":
        ids = [torch.cuda.current_device()] if a.device == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    return model


class Trainer:
    def __init__(self, a, model):
        self.a, self.model = a, model
        self.opt = make_optimizer(a, model)
        self.run = in_parallel(a, model)
        if a.compile:
            self.run = torch.compile(self.run)

    def step(self, ids, targets, lr):
        """Loss and gradient norm of one optimizer step over equal micro-batches."""
        a, n, loss = self.a, self.a.accumulation, 0
        for group in self.opt.param_groups:
            group["lr"] = lr
        for x, y in zip(ids.chunk(n), targets.chunk(n)):
            with autocast(a):
                part = self.run(x, y).mean() / n  # nn.DataParallel: one loss of each GPU
            part.backward()
            loss = loss + part.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), a.clip if a.clip > 0 else math.inf)
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)
        return loss, norm


def flops_per_token(model, seq):
    """6 per weight of a matrix (the tied table once, positions not) and causal attention, as lt counts."""
    matrices = sum(p.numel() for p in model.parameters() if p.dim() >= 2) - model.wpe.weight.numel()
    return 6 * matrices + 6 * len(model.blocks) * seq * model.wte.weight.shape[1]


def device_name(a):
    return torch.cuda.get_device_name() if a.device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def peak_bytes(a):
    """Of the GPU that has most."""
    if a.device == "cuda":
        mine = range(a.gpus) if a.parallel == "dp" else [torch.cuda.current_device()]
        return max(torch.cuda.max_memory_allocated(i) for i in mine)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(a, trainer):
    n = a.batch * a.accumulation * (a.gpus if a.parallel == "dp" else 1)
    ids = torch.randint(0, 50257, (n, a.seq), device=a.device)
    targets = torch.randint(0, 50257, (n, a.seq), device=a.device)
    times = []
    for i in range(a.steps + 3):
        start = time.perf_counter()
        trainer.step(ids, targets, a.lr)[0].item()
        if i >= 3:
            times.append(time.perf_counter() - start)
    return times


def largest(a, values):
    """Of each value the largest over all ranks."""
    if a.parallel != "ddp":
        return values
    x = torch.tensor(values, dtype=torch.float64, device=a.device)
    dist.all_reduce(x, dist.ReduceOp.MAX)
    return x.tolist()


def report(a, model, times):
    *times, peak_memory = largest(a, times + [peak_bytes(a)])
    if a.parallel == "ddp" and dist.get_rank() > 0:
        return
    best, tokens = min(times), a.batch * a.accumulation * a.seq * a.gpus
    flops = flops_per_token(model, a.seq)
    peak = next((1e12 * (s[2] if a.precision == "fp32" else s[1]) for s in SHEETS if s[0] in device_name(a)), None)
    r = {"peer": f"PyTorch {torch.__version__}", "model": a.model, "device": device_name(a), "precision": a.precision,
         "batch": a.batch, "seq": a.seq, "accumulation": a.accumulation, "parallel": a.parallel, "gpus": a.gpus,
         "compile": a.compile,
         "threads": torch.get_num_threads(), "tokens_per_s": tokens / best, "ms_per_step": best * 1e3,
         "mean_ms_per_step": sum(times) / len(times) * 1e3, "flops_per_token": flops, "flops_per_s": flops * tokens / best,
         "data_sheet_flops_per_s": peak, "mfu": flops * tokens / best / (peak * a.gpus) if peak else None,
         "peak_bytes": int(peak_memory)}
    if a.json:
        print(json.dumps(r))
        return
    print(f"{a.model}  {a.precision}  B={a.batch} T={a.seq} accumulation {a.accumulation}  {r['peer']}"
          f"{' compiled' if a.compile else ''}\n{r['device']}")
    print(f"  step          {r['ms_per_step']:10.2f} ms best, {r['mean_ms_per_step']:.2f} ms mean of {len(times)}")
    print(f"  throughput    {r['tokens_per_s']:10.1f} tokens/s")
    mfu = f"{100 * r['mfu']:10.1f} % of {peak * 1e-12:.1f} TFLOP/s" if peak else "no data sheet is known for this device"
    print(f"  MFU           {mfu}; {flops:.6g} FLOPs a token")
    print(f"  memory        {r['peak_bytes'] / 2**20:10.1f} MiB at most")


def train(a, trainer, batches):
    """Loss of every step into a.losses; the times of the steps."""
    h, times = batches.head, []
    with open(a.losses, "w") as out:
        for i in range(h["steps"]):
            lr = rate(a, i + 1, h["total_steps"])
            if abs(lr - h["lr"][i]) > 1e-6 * a.lr:
                raise SystemExit(f"step {i + 1}: the learning rate here is {lr:g}, lt's is {h['lr'][i]:g}: "
                                 "--lr, --min-lr or --warmup-steps are not those of the configuration")
            start = time.perf_counter()
            ids, targets = batches.step(i, a.device)
            loss, norm = trainer.step(ids, targets, lr)
            out.write(f"{i + 1} {loss.item():.9g} {norm.item():.9g} {lr:.9g}\n")
            times.append(time.perf_counter() - start)
    return times[3:] or times


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", default="gpt2", choices=SIZES)
    ap.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    ap.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    ap.add_argument("--tf32", action="store_true", help="let fp32 products round to TF32")
    ap.add_argument("--batch", type=int, default=4, help="sequences in a micro-batch")
    ap.add_argument("--seq", type=int, default=64)
    ap.add_argument("--accumulation", type=int, default=1)
    ap.add_argument("--steps", type=int, default=5, help="timed steps; the best counts")
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--compile", action="store_true")
    ap.add_argument("--layers", type=int, help="keep only so many layers")
    ap.add_argument("--parallel", default="none", choices=["none", "dp", "ddp"])
    ap.add_argument("--gpus", type=int, default=1, help="with --parallel: GPUs, or processes on CPUs")
    ap.add_argument("--json", action="store_true")
    ap.add_argument("--init", metavar="FILE", help="model.safetensors to start from, config.json beside it")
    ap.add_argument("--batches", metavar="FILE", help="train on what lt-bench batches wrote")
    ap.add_argument("--losses", metavar="FILE", help="with --batches: a line for each step")
    ap.add_argument("--lr", type=float, default=3e-4)
    ap.add_argument("--min-lr", type=float, help="default a tenth of --lr")
    ap.add_argument("--warmup-steps", type=int, default=0)
    ap.add_argument("--weight-decay", type=float, default=0.1)
    ap.add_argument("--betas", type=float, nargs=2, default=[0.9, 0.95])
    ap.add_argument("--eps", type=float, default=1e-8)
    ap.add_argument("--clip", type=float, default=1.0)
    a = ap.parse_args()
    if bool(a.batches) != bool(a.losses):
        ap.error("--batches and --losses go together")
    if a.parallel == "none" and a.gpus > 1:
        ap.error("--gpus: more than one needs --parallel dp or ddp")
    if a.parallel != "none" and (a.batches or a.accumulation > 1):
        ap.error("--parallel times single batches: no --batches, no --accumulation")
    if a.parallel == "dp" and a.device == "cpu":
        ap.error("--parallel dp needs --device cuda")
    return a


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_ranks(n):
    """This script n times, as torchrun would; the first failure ends all.  The exit status."""
    env = dict(os.environ, WORLD_SIZE=str(n), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    ranks = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through the finally below
    try:
        for r in range(n):
            ranks.append(subprocess.Popen([sys.executable] + sys.argv, env=dict(env, RANK=str(r), LOCAL_RANK=str(r))))
        while any(r.poll() is None for r in ranks) and not any(r.poll() for r in ranks):
            time.sleep(0.2)
    finally:
        for r in ranks:
            if r.poll() is None:
                r.terminate()
        status = [r.wait() for r in ranks]
    return int(any(status))


def join_ranks(a):
    if a.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    elif not a.threads:
        torch.set_num_threads(max(1, torch.get_num_threads() // a.gpus))
    dist.init_process_group("nccl" if a.device == "cuda" else "gloo")


def main():
    a = arguments()
    if a.parallel == "ddp" and "RANK" not in os.environ:
        sys.exit(start_ranks(a.gpus))
    if a.threads:
        torch.set_num_threads(a.threads)
    if a.parallel == "ddp":
        join_ranks(a)
    torch.set_float32_matmul_precision("high" if a.tf32 else "highest")
    torch.manual_seed(1)
    batches = Batches(a.batches) if a.batches else None
    if batches:
        a.accumulation, a.seq = batches.head["micro_batches"], batches.head["seq_len"]
        a.batch = batches.head["sequences"] // a.accumulation
    if a.init:
        model = model_from(a.init, padded=True)
        a.model = a.init
    else:
        layers, heads, c = SIZES[a.model]
        model = GPT2(a.layers or layers, heads, c, VOCABULARY, VOCABULARY, max(1024, a.seq))
    model.to(a.device)
    trainer = Trainer(a, model)
    times = train(a, trainer, batches) if batches else measure(a, trainer)
    report(a, model, times)
    if a.parallel == "ddp":
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
