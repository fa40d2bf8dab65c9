#!/usr/bin/env python3
"""Writes a golden folder that `lt-bench golden` checks lt against, with transformers and PyTorch.

    make_golden.py OUT                 a tiny GPT-2 with random weights
    make_golden.py OUT --model DIR     an existing Hugging Face folder (what lt-ckpt-merge wrote, say)

golden.safetensors: input_ids, labels (B, T); logits and loss before any step; grad.NAME; train.loss and
train.grad_norm of ten AdamW steps on that batch; final.NAME.  Hyperparameters stand in its metadata.
tests/data/golden/gpt2 came from such a script with transformers 5.17 and PyTorch 2.11 on a CPU.
"""
import argparse
import math
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

HYPER = dict(lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, grad_clip=1.0, steps=10)


def tiny_model():
    config = GPT2Config(vocab_size=211, n_positions=64, n_embd=48, n_layer=3, n_head=3, resid_pdrop=0.0,
                        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():  # no bias exactly 0, no norm weight exactly 1
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.1 * torch.randn_like(p))
    return model


def optimizer_of(model):
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [dict(params=decay, weight_decay=HYPER["weight_decay"]), dict(params=rest, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=HYPER["lr"], betas=(HYPER["beta1"], HYPER["beta2"]), eps=HYPER["eps"])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--model")
    ap.add_argument("--batch", type=int, default=2)
    ap.add_argument("--seq", type=int, default=32)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    os.makedirs(args.out, exist_ok=True)
    if args.model:
        model = GPT2LMHeadModel.from_pretrained(args.model, torch_dtype=torch.float32)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(os.path.join(args.model, name), args.out)
    else:
        model = tiny_model()
        model.save_pretrained(args.out)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ids = torch.randint(0, model.config.vocab_size, (args.batch, args.seq))
    names = dict(model.named_parameters())
    tensors = {"input_ids": ids.to(torch.int32), "labels": ids.to(torch.int32)}

    out = model(input_ids=ids, labels=ids)
    tensors["logits"] = out.logits.detach().clone()
    tensors["loss"] = out.loss.detach().reshape(1).clone()
    out.loss.backward()
    for name, p in names.items():
        tensors["grad." + name] = p.grad.clone()

    optimizer = optimizer_of(model)
    losses, norms = [], []
    for _ in range(HYPER["steps"]):
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), HYPER["grad_clip"]).item())
        optimizer.step()
    tensors["train.loss"] = torch.tensor(losses, dtype=torch.float64)
    tensors["train.grad_norm"] = torch.tensor(norms, dtype=torch.float64)
    for name, p in names.items():
        tensors["final." + name] = p.detach().clone()
    assert all(math.isfinite(x) for x in losses)
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(args.out, "golden.safetensors"),
              metadata={k: str(v) for k, v in HYPER.items()} | {"torch": torch.__version__})
    print(f"{args.out}: {len(tensors)} tensors, loss {losses[0]:.6f} to {losses[-1]:.6f}")


if __name__ == "__main__":
    main()
