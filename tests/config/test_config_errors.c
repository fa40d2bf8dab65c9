/* test_config_errors.c - every kind of wrong configuration and its whole sentence. */
#include "config_case.h"

typedef struct bad {
    const char *yaml, *argv; /* argv NULL: none */
    lt_err code;
    const char *sentence;
} bad;

#define MUST_AGREE " are one setting and must agree"

static const bad cases[] = {
    /* keys */
    { "training:\n  leraning_rate: 3\n", NULL, LT_EUSAGE,
      "c.yaml:2:3: unknown key training.leraning_rate: did you mean training.lr?" },
    { "training:\n  warmup_step: 3\n", NULL, LT_EUSAGE,
      "c.yaml:2:3: unknown key training.warmup_step: did you mean training.warmup_steps?" },
    { "trainning: {lr: 1}\n", NULL, LT_EUSAGE,
      "c.yaml:1:1: unknown key trainning: did you mean training?" },
    { "zero_optimization: {stage: 2}\n", NULL, LT_EUSAGE,
      "c.yaml:1:1: unknown key zero_optimization: did you mean deepspeed.zero_optimization?" },
    { "model:\n  lr: 3\n", NULL, LT_EUSAGE,
      "c.yaml:2:3: unknown key model.lr: did you mean training.lr?" },
    { "data: {qqqqq: 3}\n", NULL, LT_EUSAGE,
      "c.yaml:1:8: unknown key data.qqqqq; lt-train --config-docs lists them all" },
    { "\"a\\e[31mb\": 3\n", NULL, LT_EUSAGE,
      "c.yaml:1:1: unknown key a?[31mb; lt-train --config-docs lists them all" },
    { "model:\n  name: gpt2\n  name: gpt2\n", NULL, LT_EUSAGE,
      "c.yaml:3:3: the key \"name\" stands twice, first on line 2" },
    { "model: {}\nmodel: {}\n", NULL, LT_EUSAGE,
      "c.yaml:2:1: the key \"model\" stands twice, first on line 1" },

    /* types and ranges */
    { "model:\n  name: gpt2\n  precision:  fp61\n", NULL, LT_EUSAGE,
      "c.yaml:3:15: model.precision: expected fp32, bf16 or fp16, found \"fp61\"" },
    { "training:\n  batch_size: \"8\"\n", NULL, LT_EUSAGE,
      "c.yaml:2:15: training.batch_size: expected an integer, found the text \"8\" in quotes" },
    { "training: {batch_size: 8.5}\n", NULL, LT_EUSAGE,
      "c.yaml:1:24: training.batch_size: expected an integer, found \"8.5\"" },
    { "training: {batch_size: 0}\n", NULL, LT_EUSAGE,
      "c.yaml:1:24: training.batch_size: expected 1 to 1048576, found 0" },
    { "training: {batch_size: 99999999999999999999}\n", NULL, LT_EUSAGE,
      "c.yaml:1:24: training.batch_size: expected an integer, found \"99999999999999999999\"" },
    { "training: {warmup_steps: -1}\n", NULL, LT_EUSAGE,
      "c.yaml:1:26: training.warmup_steps: expected 0 or more, found -1" },
    { "training: {lr: fast}\n", NULL, LT_EUSAGE,
      "c.yaml:1:16: training.lr: expected a number, found \"fast\"" },
    { "training: {lr: auto}\n", NULL, LT_EUSAGE, /* DeepSpeed's word, in its own sections only */
      "c.yaml:1:16: training.lr: expected a number, found \"auto\"" },
    { "training: {lr: '1e-4'}\n", NULL, LT_EUSAGE,
      "c.yaml:1:16: training.lr: expected a number, found the text \"1e-4\" in quotes" },
    { "training: {lr: .inf}\n", NULL, LT_EUSAGE,
      "c.yaml:1:16: training.lr: expected a number, found \".inf\"" },
    { "training: {max_wallclock: 1d}\n", NULL, LT_EUSAGE,
      "c.yaml:1:27: training.max_wallclock: expected seconds or [D-]HH:MM:SS, found \"1d\"" },
    { "training: {max_wallclock: '30:00'}\n", NULL, LT_EUSAGE,
      "c.yaml:1:27: training.max_wallclock: expected seconds or [D-]HH:MM:SS, found the text "
      "\"30:00\" in quotes" },
    { "training: {max_wallclock: 1-24:00:00}\n", NULL, LT_EUSAGE,
      "c.yaml:1:27: training.max_wallclock: expected seconds or [D-]HH:MM:SS, found "
      "\"1-24:00:00\"" },
    { "training: {max_wallclock: 1:60:00}\n", NULL, LT_EUSAGE,
      "c.yaml:1:27: training.max_wallclock: expected seconds or [D-]HH:MM:SS, found \"1:60:00\"" },
    { "training: {hang_timeout: -1}\n", NULL, LT_EUSAGE,
      "c.yaml:1:26: training.hang_timeout: expected 0 or more, found -1" },
    { "training: {lr: -1}\n", NULL, LT_EUSAGE,
      "c.yaml:1:16: training.lr: expected 0 to 1000, found -1" },
    { "training: {deterministic: yes}\n", NULL, LT_EUSAGE,
      "c.yaml:1:27: training.deterministic: expected true or false, found \"yes\"" },
    { "training: {betas: [0.9, 1.2]}\n", NULL, LT_EUSAGE,
      "c.yaml:1:19: training.betas: expected 0 to 1, found 1.2" },
    { "training: {betas: [0.9]}\n", NULL, LT_EUSAGE,
      "c.yaml:1:19: training.betas: expected a list of two numbers, found 1" },
    { "training: {betas: 0.9}\n", NULL, LT_EUSAGE,
      "c.yaml:1:19: training.betas: expected a list of two numbers, found \"0.9\"" },
    { "training: {sample_prompts: [[a]]}\n", NULL, LT_EUSAGE,
      "c.yaml:1:28: training.sample_prompts: expected a list of texts, found a list" },
    { "model: {name: [a]}\n", NULL, LT_EUSAGE,
      "c.yaml:1:15: model.name: expected text, found a list" },
    { "model: {name: {a: b}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:15: model.name: expected text, found a section" },
    { "checkpoint: {resume: true}\n", NULL, LT_EUSAGE,
      "c.yaml:1:22: checkpoint.resume: expected text, found \"true\"" },
    { "model: 3\n", NULL, LT_EUSAGE,
      "c.yaml:1:8: model: expected a section (keys and values), found \"3\"" },
    { "model: [a]\n", NULL, LT_EUSAGE,
      "c.yaml:1:8: model: expected a section (keys and values), found a list" },
    { "deepspeed: {zero_optimization: {offload_optimizer: 3}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:52: deepspeed.zero_optimization.offload_optimizer: expected true, false or a "
      "section, found \"3\"" },
    { "model: {name: opt}\n", NULL, LT_EUSAGE,
      "c.yaml:1:15: model.name: expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found "
      "\"opt\"; a folder is model.path" },
    { "model: {n_embd: 100}\n", NULL, LT_EUSAGE,
      "c.yaml: model: n_embd: expected a multiple of n_head, 12, found 100" },
    { "data: {seq_len: 4096}\n", NULL, LT_EUSAGE,
      "c.yaml:1:17: data.seq_len: expected at most model.n_positions, 1024, found 4096" },
    { "training: {lr: 1e-4, min_lr: 1e-3}\n", NULL, LT_EUSAGE,
      "c.yaml:1:30: training.min_lr: expected at most training.lr, 0.0001, found 0.001" },

    /* two places */
    { "training: {lr: 1e-4}\ndeepspeed:\n  optimizer: {params: {lr: 5e-5}}\n", NULL, LT_EUSAGE,
      "training.lr: 0.0001 (c.yaml:1) and deepspeed.optimizer.params.lr: 5e-05 (c.yaml:3)" //
      MUST_AGREE },
    { "training: {gradient_clipping: 1}\ndeepspeed: {gradient_clipping: 0.5}\n", NULL, LT_EUSAGE,
      "training.gradient_clipping: 1 (c.yaml:1) and deepspeed.gradient_clipping: 0.5 (c.yaml:2)" //
      MUST_AGREE },
    { "training: {lr_schedule: cosine}\ndeepspeed: {scheduler: {type: WarmupLR}}\n", NULL,
      LT_EUSAGE,
      "training.lr_schedule: cosine (c.yaml:1) and deepspeed.scheduler.type: WarmupLR "
      "(c.yaml:2)" MUST_AGREE },
    { "model: {precision: fp32}\ndeepspeed: {bf16: {enabled: true}}\n", NULL, LT_EUSAGE,
      "c.yaml:2:29: deepspeed.bf16.enabled: true, but model.precision (c.yaml:1) makes it fp32; "
      "they are one setting and must agree" },
    { "model: {precision: bf16}\ndeepspeed: {bf16: {enabled: false}}\n", NULL, LT_EUSAGE,
      "c.yaml:2:29: deepspeed.bf16.enabled: false, but model.precision (c.yaml:1) makes it bf16; "
      "they are one setting and must agree" },
    { "deepspeed: {bf16: {enabled: true},\n fp16: {enabled: true}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:29: deepspeed.bf16.enabled: true, but deepspeed.fp16.enabled (c.yaml:2) makes it "
      "fp16; they are one setting and must agree" },
    { "training: {steps: 5,\n epochs: 3}\n", NULL, LT_EUSAGE,
      "c.yaml:2:10: training.epochs: training.steps is given too (c.yaml:1); one of "
      "training.steps, training.epochs and training.tokens is the length of the run" },
    { "model: {name: gpt2, path: x}\n", NULL, LT_EUSAGE,
      "c.yaml:1:27: model.path: model.name is given too (c.yaml:1); give one of the two" },
    { "deepspeed: {zero_optimization: {stage: 2, offload_param: true}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:58: deepspeed.zero_optimization.offload_param: parameters are offloaded at ZeRO "
      "stage 3 only, found stage 2" },
    { "deepspeed: {zero_optimization: {offload_optimizer: {device: nvme}}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:61: deepspeed.zero_optimization.offload_optimizer.device: nvme needs "
      "deepspeed.zero_optimization.offload_optimizer.nvme_path" },
    { "deepspeed: {scheduler: {type: OneCycle}}\n", NULL, LT_EUSAGE,
      "c.yaml: deepspeed.scheduler.params.cycle_min_lr: OneCycle needs it" },

    /* known, not supported yet */
    { "deepspeed: {amp: {enabled: true}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:18: deepspeed.amp: known, not supported yet: say model.precision" },
    { "deepspeed: {wandb: {team: x}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:20: deepspeed.wandb: known, not supported yet" },
    { "deepspeed: {optimizer: {type: Lion}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:31: deepspeed.optimizer.type: \"Lion\" is known, not supported yet" },
    { "deepspeed: {zero_optimization: {zero_hpz_partition_size: 8}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:58: deepspeed.zero_optimization.zero_hpz_partition_size: known, not supported "
      "yet" },
    { "deepspeed: {zero_optimization: {cpu_offload: true}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:46: deepspeed.zero_optimization.cpu_offload: known, not supported yet: say "
      "offload_optimizer: true" },
    { "deepspeed: {communication_data_type: fp16}\n", NULL, LT_EUSAGE,
      "c.yaml:1:38: deepspeed.communication_data_type: known, not supported yet: gradients travel "
      "in fp32, parameters in model.precision" },

    { "deepspeed: {zero_optimization: {offload_param: {max_in_cpu: 0}}}\n", NULL, LT_EUSAGE,
      "c.yaml:1:61: deepspeed.zero_optimization.offload_param.max_in_cpu: expected 1 or more, "
      "found 0" },

    /* argv */
    { "", "--training.lr=x", LT_EUSAGE, "--training.lr: expected a number, found \"x\"" },
    { "", "--trainnig.lr=1", LT_EUSAGE, "--trainnig.lr: unknown key: did you mean training.lr?" },
    { "", "--training.foo=1", LT_EUSAGE,
      "--training.foo: unknown key; lt-train --config-docs lists them all" },
    { "", "--training.lr", LT_EUSAGE, "--training.lr: expected --section.key=value" },
    { "", "--training.lr=", LT_EUSAGE, "--training.lr: expected a number, found \"\"" },
    { "", "--training.steps=", LT_EUSAGE, "--training.steps: expected an integer, found \"\"" },
    { "", "--training.betas=", LT_EUSAGE,
      "--training.betas: expected a list of two numbers, found 1" },
    { "", "--checkpoint.dir=", LT_EUSAGE,
      "--checkpoint.dir: expected text, found nothing; null means \"not given\"" },
    { "model: {path: ''}\n", NULL, LT_EUSAGE,
      "c.yaml:1:15: model.path: expected text, found nothing; null means \"not given\"" },
    { "", "--device=", LT_EUSAGE, "--device: expected auto, cpu or cuda, found \"\"" },
    { "", "--learning_rate=1", LT_EUSAGE,
      "--learning_rate: unknown key: did you mean training.lr?" },
    { "", "training.lr=1", LT_EUSAGE, "training.lr=1: expected --section.key=value" },
    { "", "--training=3", LT_EUSAGE, "--training: this is a section, give one of its keys" },
    { "", "--=3", LT_EUSAGE, "--: unknown key; lt-train --config-docs lists them all" },
    { "", "--data.train=a\xff", LT_EUSAGE, "--data.train: expected UTF-8 text, found other bytes" },
    { "", "--model.name=gpt3", LT_EUSAGE,
      "--model.name: expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found \"gpt3\"; a folder "
      "is model.path" },
};

LT_TEST(config_errors_are_whole_sentences)
{
    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_config *c = NULL;
        lt_err err = parse_with(&c, cases[i].yaml, cases[i].argv, NULL, NULL);

        LT_FAIL_IF(err == LT_OK, "case %zu was accepted: %s", i, cases[i].yaml);
        LT_CHECK_STR(lt_err_text(), cases[i].sentence);
        LT_CHECK_INT(err, cases[i].code);
        LT_CHECK(c == NULL);
    }
}

/* A key beyond any buffer, a value beyond any sentence. */
LT_TEST(config_errors_of_long_words_are_short)
{
    static char yaml[4100];
    lt_config *c = NULL;

    memset(yaml, 'k', 900);
    memcpy(yaml + 900, ": 1\n", 5);
    LT_CHECK_FAILS(parse(&c, yaml), LT_EUSAGE, "kkk...; lt-train --config-docs lists them all");
    LT_CHECK(strlen(lt_err_text()) < 160);
    memcpy(yaml, "model: {precision: ", 19);
    memset(yaml + 19, 'v', 4000);
    memcpy(yaml + 4019, "}\n", 3);
    LT_CHECK_FAILS(parse(&c, yaml), LT_EUSAGE, "expected fp32, bf16 or fp16, found \"vvv");
    LT_CHECK(strlen(lt_err_text()) < 160);
}
