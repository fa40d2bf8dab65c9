# tinyfinetune.mk - fine-tunes a model that is already there on your own text.
#
#     make -f pipelines/tinyfinetune.mk MODEL_DIR=models/gpt2 CORPUS=letters.txt
#
# MODEL_DIR is a Hugging Face folder with config.json, tokenizer.json and *.safetensors; the result,
# OUT/model, is one again.  Stages: tokens, shards, train, merge.
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
MODEL_DIR ?= $(error MODEL_DIR is not set: name a folder with config.json and model.safetensors)
CORPUS    ?= $(error CORPUS is not set: name text, JSONL, .gz or .zst files, CORPUS="FILE...")
OUT       ?= finetune-run
CONFIG    ?= $(HERE)tinyfinetune.yaml
TOKENIZER ?= $(MODEL_DIR)/tokenizer.json
SPLIT     ?= train=0.95,val=0.05
# In blocks: a .txt file is one document, which would go to one side as a whole.
SPLIT_BY  ?= tokens:256
STEPS     ?= 200
WARMUP    ?= $(shell echo $$(($(STEPS) / 20)))
RANKS     ?= 1
PRECISION ?= $(if $(GPU),bf16,fp32)
# Empty: as CONFIG says.
BATCH ?=
SEQ   ?=
HOSTS ?=

SETTINGS = --model.path=$(MODEL_DIR) --model.precision=$(PRECISION) \
           --training.steps=$(STEPS) --training.warmup_steps=$(WARMUP) \
           $(if $(BATCH),--training.batch_size=$(BATCH)) $(if $(SEQ),--data.seq_len=$(SEQ))

include $(HERE)stages.mk
