# gpt2.mk - trains GPT-2 from scratch on your own text.
#
#     make -f pipelines/gpt2.mk CORPUS=news.jsonl.zst
#     make -f pipelines/gpt2.mk CORPUS="a.txt b.jsonl" MODEL=gpt2-large RANKS=8 OUT=/scratch/run1
#
# Stages: tokens, shards, train, merge; the default runs all that are not done yet.
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
CORPUS    ?= $(error CORPUS is not set: name text, JSONL, .gz or .zst files, CORPUS="FILE...")
OUT       ?= gpt2-run
CONFIG    ?= $(HERE)gpt2.yaml
MODEL     ?= gpt2
TOKENIZER ?= gpt2
SPLIT     ?= train=0.99,val=0.01
# tokens:4096 for a corpus of a few huge documents; a .txt file is one.
SPLIT_BY  ?= document
STEPS     ?= 20000
WARMUP    ?= $(shell echo $$(($(STEPS) / 30)))
RANKS     ?= 1
PRECISION ?= $(if $(GPU),bf16,fp32)
# Empty: as CONFIG says.  BATCH alone means no accumulation.
BATCH ?=
ACCUM ?= $(if $(BATCH),1)
SEQ   ?=
HOSTS ?=

SETTINGS = --model.name=$(MODEL) --model.precision=$(PRECISION) \
           --training.steps=$(STEPS) --training.warmup_steps=$(WARMUP) \
           $(if $(BATCH),--training.batch_size=$(BATCH)) \
           $(if $(ACCUM),--training.gradient_accumulation_steps=$(ACCUM)) \
           $(if $(SEQ),--data.seq_len=$(SEQ))

include $(HERE)stages.mk
