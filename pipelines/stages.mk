# stages.mk - the stages that every recipe has: text -> tokens -> shards -> checkpoints -> model.
#
# A recipe sets CORPUS, TOKENIZER, SPLIT, SPLIT_BY, OUT, CONFIG and SETTINGS (what goes to lt-train on
# top of CONFIG) and includes this.  Each stage leaves a file in OUT; make goes on from the first that
# is missing, and lt-train by itself from its newest checkpoint.  A stage that is done again replaces
# its folder in OUT (--force), whole or not at all.  Binaries of this tree are built when they are
# missing, GPU parts only where a GPU is.  A BIN of the caller's (BIN=folder/, or empty for the PATH)
# is used as it is and nothing is built.
ROOT := $(if $(filter %pipelines/,$(HERE)),$(HERE:%pipelines/=%),$(HERE)../)
OWN  := $(and $(filter undefined,$(origin BIN)),$(wildcard $(ROOT)Makefile))
BIN  ?= $(if $(OWN),$(ROOT)build/release/bin/)
GPU  := $(wildcard /dev/nvidia0)
JOBS  = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

TOKENIZE := $(BIN)lt-tokenize
SHARD    := $(BIN)lt-shard
TRAIN    := $(BIN)lt-train
MERGE    := $(BIN)lt-ckpt-merge
BINARIES := $(if $(OWN),$(TOKENIZE) $(SHARD) $(TRAIN) $(MERGE))

# One GPU or CPU process a rank, which place themselves; HOSTS=a:8,b:8 spreads them.  MPIRUN is the
# mpirun of the MPI that lt was built with, with any options: MPIRUN="mpirun --oversubscribe".
MPIRUN ?= mpirun
LAUNCH  = $(if $(filter-out 1,$(RANKS)),$(MPIRUN) -n $(RANKS) --bind-to none $(if $(HOSTS),--host $(HOSTS)))
ifeq ($(shell id -u),0) # Open MPI asks twice before it starts anything as root, as in a container
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
endif
PATHS  = --data.train=$(OUT)/data/train.manifest --data.val=$(OUT)/data/val.manifest \
         --checkpoint.dir=$(OUT)/checkpoints --logging.dir=$(OUT)/logs

# make ends a name at a space: without this, OUT="my run" would write to my and run/.
$(foreach v,OUT CONFIG MODEL_DIR,$(if $(word 2,$($v)),$(error $v has a space in it, which make cannot take: $($v))))

all: merge
tokens: $(OUT)/corpus.tok
shards: $(OUT)/data/train.manifest
train:  $(OUT)/last-checkpoint
merge:  $(OUT)/model/config.json

ifneq ($(BINARIES),)
$(BINARIES) &:
	$(MAKE) --no-print-directory -C $(or $(ROOT),.) $(JOBS) all $(if $(GPU),,CUDA=0)
endif

$(OUT)/corpus.tok: $(CORPUS) $(filter %.json,$(TOKENIZER)) | $(OUT)/settings $(BINARIES)
	@mkdir -p $(@D)
	$(TOKENIZE) --tokenizer $(TOKENIZER) $(CORPUS) -o $@

$(OUT)/data/train.manifest: $(OUT)/corpus.tok | $(BINARIES)
	$(SHARD) --force --out $(@D) --split $(SPLIT) --split-by $(SPLIT_BY) $<

# Rewritten only when the settings change: more STEPS, and the training goes on.  A setting that
# lt-train does not take, as a MODEL that is not there, ends the recipe here, not after the shards.
$(OUT)/settings: FORCE | $(BINARIES)
	@mkdir -p $(@D)
	@echo '$(SETTINGS)' | cmp -s - $@ || { \
	    $(TRAIN) $(CONFIG) $(SETTINGS) --print-config >/dev/null && echo '$(SETTINGS)' >$@; }

$(OUT)/last-checkpoint: $(CONFIG) $(OUT)/settings $(OUT)/data/train.manifest | $(BINARIES)
	$(LAUNCH) $(TRAIN) $(CONFIG) $(SETTINGS) $(PATHS)
	@ls -d $(OUT)/checkpoints/step-???????? | tail -n 1 >$@.tmp
	@mv $@.tmp $@

$(OUT)/model/config.json: $(OUT)/last-checkpoint | $(BINARIES)
	$(MERGE) --force $$(cat $<) -o $(@D)

.DELETE_ON_ERROR:
.PHONY: all tokens shards train merge FORCE
