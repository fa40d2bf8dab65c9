# demo.mk - the whole way on real text: corpus, tokenizer, tokens, shards, training, merged model,
# generated text.  The text is the King James Bible from the package bible-kjv.
#
#     make demo        or        make -f pipelines/demo.mk OUT=/tmp/demo RANKS=2
#
# Stages: corpus, tokenizer, tokens, shards, train, merge, sample; the default runs all that are not
# done yet and prints what came out.
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
OUT       ?= demo
CONFIG    ?= $(HERE)demo.yaml
VOCAB     ?= 2048
PROMPT    ?= And the LORD said unto
LENGTH    ?= 200
CORPUS    := $(OUT)/corpus.jsonl
TOKENIZER := $(OUT)/tokenizer.json
SPLIT     := train=0.95,val=0.05
SPLIT_BY  := document
RANKS     ?= 1
SETTINGS  := --model.vocab_size=$(VOCAB)

report:

include $(HERE)stages.mk

corpus:    $(CORPUS)
tokenizer: $(TOKENIZER)
sample:    $(OUT)/sample.txt

/usr/bin/bible:
	sh $(HERE)setup.sh run

# "Ge1:1 In the beginning ...", a verse a line, to a JSON document a chapter.
$(CORPUS): | /usr/bin/bible
	@mkdir -p $(@D)
	bible -f gen1:1-rev22:21 </dev/null | awk -f $(HERE)chapters.awk >$@.tmp
	@mv $@.tmp $@

$(TOKENIZER): $(CORPUS) | $(BINARIES)
	$(TOKENIZE) --train --vocab-size $(VOCAB) -o $@ $<

$(OUT)/sample.txt: $(OUT)/last-checkpoint | $(BINARIES)
	$(TRAIN) generate --checkpoint $$(cat $<) --prompt "$(PROMPT)" --max-tokens $(LENGTH) \
	    --seed 1 >$@.tmp
	@mv $@.tmp $@

report: $(OUT)/sample.txt $(OUT)/model/config.json
	@sh $(HERE)demo_report.sh $(OUT) $(SHARD)

.PHONY: corpus tokenizer sample report
