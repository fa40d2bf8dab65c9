/* test_config.c - what a configuration means: the seed file, DeepSpeed's blocks, precedence. */
#include "config_case.h"
#include "base/file.h"

#include <stdlib.h>

LT_TEST(config_loads_the_seed_configuration)
{
    lt_config *c = NULL;

    LT_CHECK_OK(lt_config_load(&c, lt_test_data("config/seed.yaml"), 0, NULL));
    LT_CHECK_STR(c->model.name, "gpt2-large");
    LT_CHECK_INT(c->model.precision, LT_F16);
    LT_CHECK(c->deepspeed.fp16.enabled && !c->deepspeed.bf16.enabled);
    LT_CHECK_INT(c->model.dims.n_layer, 36);
    LT_CHECK_INT(c->model.dims.head_dim, 64);
    LT_CHECK_INT(c->training.batch_size, 8);
    LT_CHECK_INT(c->training.gradient_accumulation_steps, 4);
    LT_CHECK_INT(c->training.epochs, 10);
    LT_CHECK_INT(c->training.steps, 0);
    LT_CHECK(c->training.lr == 5e-5);
    LT_CHECK(c->training.min_lr == 5e-6);
    LT_CHECK_INT(c->training.warmup_steps, 5000);
    LT_CHECK_INT(c->training.lr_schedule, LT_LR_COSINE);
    LT_CHECK(c->training.gradient_clipping == 1.0);
    LT_CHECK(c->training.betas[0] == 0.9 && c->training.betas[1] == 0.95);
    LT_CHECK_INT(c->deepspeed.zero_optimization.stage, 2);
    LT_CHECK_INT(c->deepspeed.zero_optimization.offload_optimizer.device, LT_OFFLOAD_CPU);
    LT_CHECK(c->deepspeed.zero_optimization.offload_optimizer.pin_memory);
    LT_CHECK_INT(c->deepspeed.zero_optimization.offload_param.device, LT_OFFLOAD_NONE);
    LT_CHECK(c->deepspeed.zero_optimization.overlap_comm);
    LT_CHECK_INT(c->device_map, LT_DEVICE_MAP_BALANCED);
    LT_CHECK_STR(c->data.train, "data/train.manifest");
    LT_CHECK_STR(c->data.val, "data/val.manifest");
    LT_CHECK(!lt_config_given(c, "data.val"));
    LT_CHECK_INT(c->data.seq_len, 1024);
    LT_CHECK_OK(lt_config_resolve_batch(c, 4));
    LT_CHECK_INT(c->training.global_batch_size, 128);
    lt_config_free(c);
}

LT_TEST(config_of_an_empty_file_is_the_defaults)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, ""));
    LT_CHECK_STR(c->model.name, "gpt2");
    LT_CHECK_STR(c->model.path, "");
    LT_CHECK_INT(c->model.precision, LT_F32);
    LT_CHECK_INT(c->training.epochs, 1);
    LT_CHECK(c->training.weight_decay == 0.1 && !c->training.decay_all);
    LT_CHECK(c->deepspeed.zero_optimization.overlap_comm);
    LT_CHECK_INT(c->deepspeed.zero_optimization.stage, 0);
    LT_CHECK(c->deepspeed.zero_optimization.stage3_model_persistence_threshold == INT64_MAX);
    LT_CHECK(c->model.dropout == 0 && c->training.deterministic && c->data.shuffle);
    LT_CHECK_STR(c->checkpoint.resume, "auto");
    LT_CHECK_STR(c->logging.tensorboard_dir, "logs");
    LT_CHECK_INT(c->training.sample_prompts.n, 0);
    LT_CHECK_OK(lt_config_check_runnable(c));
    lt_config_free(c);
}

LT_TEST(config_reads_a_deepspeed_file)
{
    lt_config *c = NULL;
    const lt_config_zero *z;

    LT_CHECK_OK(lt_config_load(&c, lt_test_data("config/deepspeed.yaml"), 0, NULL));
    z = &c->deepspeed.zero_optimization;
    LT_CHECK_INT(c->training.global_batch_size, 256);
    LT_CHECK_INT(c->training.gradient_accumulation_steps, 8);
    LT_CHECK(c->training.gradient_clipping == 0.5);
    LT_CHECK_INT(c->logging.every_steps, 100);
    LT_CHECK(c->logging.timing && c->logging.tensorboard);
    LT_CHECK_STR(c->logging.tensorboard_dir, "runs/decay");
    LT_CHECK_INT(c->model.precision, LT_BF16);
    LT_CHECK_INT(c->deepspeed.fp16.loss_scale_window, 500);
    LT_CHECK_INT(c->deepspeed.optimizer.type, LT_OPTIMIZER_ADAMW);
    LT_CHECK(c->training.lr == 1e-4 && c->training.weight_decay == 3e-7);
    LT_CHECK(c->training.betas[0] == 0.8 && c->training.betas[1] == 0.99);
    LT_CHECK(c->training.eps == 1e-8 && c->training.decay_all);
    LT_CHECK_INT(c->training.lr_schedule, LT_LR_DS_WARMUP_DECAY);
    LT_CHECK_INT(c->training.warmup_steps, 200);
    LT_CHECK_INT(c->deepspeed.scheduler.total_num_steps, 5000);
    LT_CHECK(c->deepspeed.scheduler.warmup_max_lr == 1e-4);
    LT_CHECK_INT(c->deepspeed.scheduler.warmup_type, LT_WARMUP_LOG);
    LT_CHECK_INT(z->stage, 3);
    LT_CHECK_INT(z->stage3_param_persistence_threshold, 10000);
    LT_CHECK_INT(z->offload_param.device, LT_OFFLOAD_CPU);
    LT_CHECK(!z->offload_param.pin_memory && z->offload_param.max_in_cpu == 2000000000);
    LT_CHECK_INT(z->offload_optimizer.device, LT_OFFLOAD_NONE);
    LT_CHECK_OK(lt_config_resolve_batch(c, 4));
    LT_CHECK_INT(c->training.batch_size, 8);
    lt_config_free(c);
}

LT_TEST(config_takes_deepspeed_defaults_with_an_optimizer_block_only)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, "deepspeed: {optimizer: {type: Adam}}\n"));
    LT_CHECK(c->training.lr == 1e-3 && c->training.weight_decay == 0 && c->training.decay_all);
    LT_CHECK(c->training.betas[0] == 0.9 && c->training.betas[1] == 0.999);
    LT_CHECK_INT(c->deepspeed.optimizer.type, LT_OPTIMIZER_ADAM);
    lt_config_free(c);
    LT_CHECK_OK(parse(&c, "training: {weight_decay: 0.2, decay_all: false}\n"
                          "deepspeed: {optimizer: {params: {lr: 2e-4}}}\n"));
    LT_CHECK(c->training.lr == 2e-4 && c->training.weight_decay == 0.2 && !c->training.decay_all);
    lt_config_free(c);
}

LT_TEST(config_reads_every_deepspeed_scheduler)
{
    static const struct {
        const char *type, *params;
        lt_lr_kind kind;
    } cases[] = {
        { "WarmupLR", "", LT_LR_DS_WARMUP },
        { "WarmupDecayLR", "total_num_steps: 9, warmup_type: linear", LT_LR_DS_WARMUP_DECAY },
        { "WarmupCosineLR", "cos_min_ratio: 0.1", LT_LR_DS_WARMUP_COSINE },
        { "OneCycle", "cycle_min_lr: 1e-5, cycle_max_lr: 1e-3, cycle_first_step_size: 7",
          LT_LR_DS_ONE_CYCLE },
        { "LRRangeTest", "lr_range_test_staircase: true", LT_LR_DS_RANGE_TEST },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_config *c = NULL;
        char yaml[256];

        snprintf(yaml, sizeof yaml, "deepspeed: {scheduler: {type: %s, params: {%s}}}\n",
                 cases[i].type, cases[i].params);
        LT_CHECK_OK(parse(&c, yaml));
        LT_CHECK_INT(c->training.lr_schedule, cases[i].kind);
        LT_CHECK_INT(c->training.warmup_steps, 1000);
        LT_CHECK(c->deepspeed.scheduler.warmup_max_lr == 3e-4);
        lt_config_free(c);
        snprintf(yaml, sizeof yaml,
                 "training: {lr_schedule: %s}\ndeepspeed: {scheduler: {params: {%s}}}\n",
                 cases[i].type, cases[i].params);
        LT_CHECK_OK(parse(&c, yaml));
        LT_CHECK_INT(c->training.lr_schedule, cases[i].kind);
        if (cases[i].kind == LT_LR_DS_ONE_CYCLE)
            LT_CHECK_INT(c->deepspeed.scheduler.cycle_second_step_size, 7);
        lt_config_free(c);
    }
}

LT_TEST(config_argv_wins_over_the_file_under_any_name)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse_with(&c, "training: {lr: 1e-4, steps: 7}\n", "--training.lr=2e-4",
                           "--training.seed=1", NULL));
    LT_CHECK(c->training.lr == 2e-4 && c->training.seed == 1 && c->training.steps == 7);
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c, "training: {gradient_clipping: 2}\n",
                           "--deepspeed.gradient_clipping=3", NULL, NULL));
    LT_CHECK(c->training.gradient_clipping == 3);
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c, "deepspeed: {gradient_clipping: 2}\n",
                           "--training.gradient_clipping=3", "--training.gradient_clipping=4",
                           NULL));
    LT_CHECK(c->training.gradient_clipping == 4);
    lt_config_free(c);
    LT_CHECK_FAILS(parse_with(&c, "", "--training.gradient_clipping=3",
                              "--deepspeed.gradient_clipping=4", NULL),
                   LT_EUSAGE, "must agree");
    LT_CHECK_OK(parse_with(&c, "training: {epochs: 3}\n", "--training.steps=5", NULL, NULL));
    LT_CHECK(c->training.steps == 5 && c->training.epochs == 0);
    lt_config_free(c);
    LT_CHECK_OK(
        parse_with(&c, "model: {precision: fp16}\n", "--deepspeed.bf16.enabled=true", NULL, NULL));
    LT_CHECK_INT(c->model.precision, LT_BF16);
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c, "deepspeed: {fp16: {enabled: true}}\n", "--model.precision=fp32",
                           NULL, NULL));
    LT_CHECK(c->model.precision == LT_F32 && !c->deepspeed.fp16.enabled);
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c, "model: {path: here}\n", "--model.name=gpt2-xl", NULL, NULL));
    LT_CHECK_STR(c->model.path, "");
    LT_CHECK_INT(c->model.dims.n_layer, 48);
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c, "training: {min_lr: 1e-4}\n", "--training.min_lr=null", NULL, NULL));
    LT_CHECK_NEAR(c->training.min_lr, 3e-5, 1e-18);
    LT_CHECK(!lt_config_given(c, "training.min_lr"));
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c,
                           "deepspeed: {zero_optimization: {offload_optimizer: {device: cpu}}}\n",
                           "--deepspeed.zero_optimization.offload_optimizer=false", NULL, NULL));
    LT_CHECK_INT(c->deepspeed.zero_optimization.offload_optimizer.device, LT_OFFLOAD_NONE);
    lt_config_free(c);
}

LT_TEST(config_reads_lists)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, "training:\n  betas: [0.5, .75]\n  sample_prompts:\n"
                          "  - Once\n  - \"a, b\"\n"));
    LT_CHECK(c->training.betas[0] == 0.5 && c->training.betas[1] == 0.75);
    LT_CHECK_INT(c->training.sample_prompts.n, 2);
    LT_CHECK_STR(c->training.sample_prompts.items[1], "a, b");
    lt_config_free(c);
    LT_CHECK_OK(parse_with(&c, "training: {sample_prompts: [x]}\n", "--training.betas=0.5,0.75",
                           "--training.sample_prompts=a,b\\, c", "--training.sample_prompts=d"));
    LT_CHECK(c->training.betas[1] == 0.75);
    LT_CHECK_INT(c->training.sample_prompts.n, 3);
    LT_CHECK_STR(c->training.sample_prompts.items[0], "a");
    LT_CHECK_STR(c->training.sample_prompts.items[1], "b, c");
    LT_CHECK_STR(c->training.sample_prompts.items[2], "d");
    lt_config_free(c);
}

LT_TEST(config_reads_numbers_as_people_write_them)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, "training: {lr: 5e-5, tokens: 1e6, eval_batches: 4k, steps: null}\n"
                          "deepspeed: {zero_optimization: {sub_group_size: 5.0e+8}}\n"));
    LT_CHECK(c->training.lr == 5e-5);
    LT_CHECK_INT(c->training.tokens, 1000000);
    LT_CHECK_INT(c->training.eval_batches, 4000);
    LT_CHECK_INT(c->deepspeed.zero_optimization.sub_group_size, 500000000);
    lt_config_free(c);
}

LT_TEST(config_takes_auto_and_switched_off_blocks)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, "deepspeed:\n"
                          "  train_batch_size: auto\n"
                          "  fp16: {enabled: \"auto\"}\n"
                          "  optimizer: {params: {lr: auto}}\n"
                          "  amp: false\n"
                          "  aio: {queue_depth: 8}\n"
                          "  communication_data_type: fp32\n"
                          "  wandb: {enabled: false, anything: [1, {a: b}]}\n"
                          "  zero_optimization: {mics_shard_size: -1, leaf_module: {x: [y]},\n"
                          "                      contiguous_gradients: false}\n"));
    LT_CHECK(!lt_config_given(c, "training.global_batch_size"));
    LT_CHECK(c->training.lr == 3e-4); /* "auto" does not make an optimizer block */
    LT_CHECK_INT(c->model.precision, LT_F32);
    lt_config_free(c);
}

LT_TEST(config_dimensions_replace_those_of_a_named_model)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, "model: {vocab_size: 300, n_layer: 2, n_embd: 64, n_head: 4, "
                          "n_positions: 32, activation: relu, tie_word_embeddings: false}\n"));
    LT_CHECK_INT(c->model.dims.n_inner, 256);
    LT_CHECK_INT(c->model.dims.head_dim, 16);
    LT_CHECK_INT(c->model.dims.n_kv_head, 4);
    LT_CHECK_INT(c->model.dims.act, LT_ACT_RELU);
    LT_CHECK_INT(c->model.dims.eos_id, -1);
    LT_CHECK(!c->model.dims.tied);
    LT_CHECK_INT(c->model.n_inner, 256);
    LT_CHECK_INT(c->data.seq_len, 32);
    lt_config_free(c);
}

LT_TEST(config_dimensions_agree_with_a_hugging_face_folder)
{
    const char *dir = lt_test_tmp("hf");
    const char *yaml = lt_test_tmp("c.yaml");
    lt_config *c = NULL;
    lt_buf json = { 0 }, text = { 0 };

    LT_CHECK_OK(lt_mkdirs(dir));
    LT_CHECK_OK(lt_file_read_all(&json, lt_test_data("config/gpt2.json"), 1 << 20));
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("hf/config.json"), json.data, json.size));
    lt_buf_printf(&text, "model:\n  path: %s\n  n_layer: 3\n", dir);
    LT_CHECK_OK(lt_file_write_atomic(yaml, text.data, text.size));
    LT_CHECK_OK(lt_config_load(&c, yaml, 0, NULL));
    LT_CHECK_INT(c->model.dims.n_embd, 48);
    LT_CHECK_INT(c->model.n_embd, 48);
    LT_CHECK_INT(c->data.seq_len, 64);
    LT_CHECK(c->model.hf_dropout == 0);
    LT_CHECK_STR(c->model.name, "");
    lt_config_free(c);
    LT_CHECK_FAILS(lt_config_load(&c, yaml, 1, (const char *[]){ "--model.n_layer=4" }), LT_EUSAGE,
                   "--model.n_layer: 4 given, but ");
    LT_CHECK(strstr(lt_err_text(), "hf/config.json says 3"));
    LT_CHECK_FAILS(lt_config_load(&c, yaml, 1, (const char *[]){ "--model.path=/nowhere" }),
                   LT_ENOENT, "/nowhere/config.json");
    lt_buf_release(&json);
    lt_buf_release(&text);
}

LT_TEST(config_files_are_bounded)
{
    lt_config *c = NULL;
    lt_buf big = { 0 };

    LT_CHECK_FAILS(lt_config_load(&c, lt_test_tmp("absent.yaml"), 0, NULL), LT_ENOENT,
                   "absent.yaml");
    lt_buf_reserve(&big, (1 << 20) + 2);
    memset(big.data, '\n', (1 << 20) + 1);
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("big.yaml"), big.data, (1 << 20) + 1));
    LT_CHECK_FAILS(lt_config_load(&c, lt_test_tmp("big.yaml"), 0, NULL), LT_EFORMAT,
                   "big.yaml: 1048577 bytes, expected at most 1048576");
    lt_buf_release(&big);
}

LT_TEST(config_names_what_this_build_cannot_run)
{
    static const struct {
        const char *yaml, *sentence;
    } cases[] = {
        { "model: {dropout: 0.1}\n", "model.dropout: 0.1 (c.yaml:1): known, not supported yet: "
                                     "this build trains without dropout only" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_config *c = NULL;

        LT_CHECK_OK(parse(&c, cases[i].yaml));
        LT_CHECK_INT(lt_config_check_runnable(c), LT_EUSAGE);
        LT_CHECK_STR(lt_err_text(), cases[i].sentence);
        lt_config_free(c);
    }
}

LT_TEST(config_tells_where_values_come_from)
{
    lt_config *c = NULL;
    lt_buf b = { 0 };

    LT_CHECK_OK(
        parse_with(&c, "training:\n  lr: 1e-4\n", "--deepspeed.gradient_clipping=3", NULL, NULL));
    lt_config_where(c, "training.lr", &b);
    lt_buf_printf(&b, "|");
    lt_config_where(c, "training.gradient_clipping", &b);
    lt_buf_printf(&b, "|");
    lt_config_where(c, "training.min_lr", &b);
    lt_buf_printf(&b, "|");
    lt_config_where(c, "training.seed", &b);
    LT_CHECK_STR(lt_buf_cstr(&b),
                 "c.yaml:2|--deepspeed.gradient_clipping|derived: training.lr / 10|default");
    LT_CHECK(lt_config_given(c, "deepspeed.optimizer.params.lr")); /* the same setting */
    LT_CHECK(!lt_config_given(c, "training.seed"));
    lt_buf_release(&b);
    lt_config_free(c);
}

LT_TEST(config_knows_its_options_on_a_command_line)
{
    LT_CHECK(lt_config_is_option("--training.lr=1"));
    LT_CHECK(lt_config_is_option("--device=cpu"));
    LT_CHECK(lt_config_is_option("--threads"));
    LT_CHECK(lt_config_is_option("--no.such=1"));       /* ours to refuse, with a suggestion */
    LT_CHECK(lt_config_is_option("--learning_rate=1")); /* likewise */
    LT_CHECK(!lt_config_is_option("--plan"));
    LT_CHECK(!lt_config_is_option("--gpu-memory=1"));
    LT_CHECK(!lt_config_is_option("--out=a.b"));
    LT_CHECK(!lt_config_is_option("--"));
    LT_CHECK(!lt_config_is_option("c.yaml"));
}

LT_TEST(config_times_are_seconds_or_a_clock)
{
    static const struct {
        const char *text;
        double seconds;
        const char *printed;
    } cases[] = {
        { "90", 90, "90" },
        { "0.5", 0.5, "0.5" },
        { "5e3", 5000, "01:23:20" },
        { "1:02:03", 3723, "01:02:03" },
        { "'00:10:00'", 600, "600" },
        { "48:00:00", 172800, "2-00:00:00" },
        { "7-23:59:59", 691199, "7-23:59:59" },
        { "0", 0, "0" },
    };
    char yaml[80], printed[80];
    lt_config *c = NULL;
    lt_buf text = { 0 };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        snprintf(yaml, sizeof yaml, "training: {max_wallclock: %s}\n", cases[i].text);
        LT_CHECK_OK(parse(&c, yaml));
        LT_CHECK_NEAR(c->training.max_wallclock, cases[i].seconds, 0);
        LT_CHECK_NEAR(c->training.hang_timeout, 30, 0);
        lt_buf_clear(&text);
        lt_config_digest_text(c, &text);
        snprintf(printed, sizeof printed, "max_wallclock: %s\n", cases[i].printed);
        LT_CHECK(strstr(lt_buf_cstr(&text), printed));
        lt_config_free(c);
    }
    lt_buf_release(&text);
}
