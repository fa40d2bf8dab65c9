/* config/config.h - the one checked struct that a YAML file and argv become.
 *
 * Every option is one row of the table in setting_*.c; the row drives YAML, --section.key=value,
 * --print-config and docs/config.md.  default < file < argv.  Fields carry the names of their keys.
 * A setting that DeepSpeed knows under a second name (deepspeed.gradient_clipping,
 * deepspeed.optimizer.params.lr, ...) shares the field of our name, so it is read in one place
 * only: below, "= key" lists these second names.  Whether files exist and whether the machine can
 * do what is asked is left to train/; nothing here opens a file but the YAML itself and the
 * config.json of model.path. */
#ifndef LT_CONFIG_CONFIG_H
#define LT_CONFIG_CONFIG_H

#include "base/dtype.h"
#include "base/kinds.h"
#include "base/mem.h"
#include "config/model_config.h"
#include <stdio.h>

typedef enum lt_device_kind { LT_DEVICE_AUTO, LT_DEVICE_CPU, LT_DEVICE_CUDA } lt_device_kind;
typedef enum lt_device_map { LT_DEVICE_MAP_BALANCED } lt_device_map;

typedef enum lt_warmup_type { LT_WARMUP_LOG, LT_WARMUP_LINEAR } lt_warmup_type;
typedef enum lt_offload_device {
    LT_OFFLOAD_NONE,
    LT_OFFLOAD_CPU,
    LT_OFFLOAD_NVME
} lt_offload_device;
typedef enum lt_optimizer_kind { LT_OPTIMIZER_ADAMW, LT_OPTIMIZER_ADAM } lt_optimizer_kind;

typedef struct lt_config_strings {
    char **items;
    size_t n;
} lt_config_strings;

typedef struct lt_config_model {
    char *name;         /* a named model, or "" when model.path is given */
    char *path;         /* a Hugging Face folder: dimensions and first weights; "" none */
    lt_dtype precision; /* LT_F32, LT_BF16 or LT_F16; = deepspeed.bf16.enabled, fp16.enabled */
    double dropout;
    lt_attention_kind attention; /* who computes attention on a GPU */
    /* Given in YAML they replace the named model's; resolved, they repeat dims.  Read dims. */
    int64_t vocab_size, n_positions, n_layer, n_embd, n_head, n_inner;
    lt_act activation;
    double layer_norm_epsilon, initializer_range;
    bool tie_word_embeddings;
    lt_model_config dims; /* resolved and checked */
    double hf_dropout;    /* the largest *_pdrop of model.path's config.json, not used to train */
} lt_config_model;

typedef struct lt_config_training {
    /* global_batch_size = batch_size * gradient_accumulation_steps * ranks, in sequences.  0 until
     * lt_config_resolve_batch. */
    int64_t batch_size;                  /* micro-batch of one rank; = micro_batch_size,
                         * deepspeed.train_micro_batch_size_per_gpu */
    int64_t gradient_accumulation_steps; /* = deepspeed.gradient_accumulation_steps */
    int64_t global_batch_size;           /* = deepspeed.train_batch_size */
    int64_t epochs, steps, tokens;       /* exactly one is > 0: the length of the run */
    double lr;                           /* = deepspeed.optimizer.params.lr */
    double min_lr;                       /* resolved: lr / 10 unless given */
    int64_t warmup_steps;                /* = deepspeed.scheduler.params.warmup_num_steps */
    lt_lr_kind lr_schedule;              /* = deepspeed.scheduler.type */
    double weight_decay;                 /* = deepspeed.optimizer.params.weight_decay */
    double betas[2];                     /* = deepspeed.optimizer.params.betas */
    double eps;                          /* = deepspeed.optimizer.params.eps */
    bool decay_all;                      /* weight decay on biases and norms too */
    double gradient_clipping;            /* global norm, 0 off; = deepspeed.gradient_clipping */
    int64_t seed;
    bool deterministic;
    bool allow_tf32;          /* fp32 matrix products on a GPU may round operands to TF32 */
    double max_wallclock;     /* seconds from the start; 0: no limit */
    double hang_timeout;      /* seconds without a sign of any rank; 0: never a hang */
    int64_t eval_every_steps; /* 0: never */
    int64_t eval_batches;     /* micro-batches of each rank in one evaluation; 0: all of data.val */
    int64_t sample_every_steps;       /* 0: never */
    lt_config_strings sample_prompts; /* none: one sample that starts from the end-of-text token */
    int64_t sample_max_tokens;
    double sample_temperature; /* 0: greedy */
    int64_t sample_top_k;      /* 0: off */
    double sample_top_p;       /* 1: off */
} lt_config_training;

typedef struct lt_config_offload {
    lt_offload_device device; /* true = cpu, false = none */
    char *nvme_path;          /* "" none */
    bool pin_memory;
    int64_t buffer_count;
    int64_t max_in_cpu; /* elements; offload_param with nvme only */
    double ratio;       /* offload_optimizer only */
} lt_config_offload;

typedef struct lt_config_zero {
    int64_t stage;
    lt_config_offload offload_optimizer, offload_param;
    bool overlap_comm;
    int64_t sub_group_size; /* elements, as the others */
    int64_t stage3_prefetch_bucket_size, stage3_param_persistence_threshold;
    int64_t stage3_model_persistence_threshold, stage3_max_live_parameters;
} lt_config_zero;

typedef struct lt_config_fp16 {
    bool enabled;      /* read model.precision */
    double loss_scale; /* 0: dynamic */
    int64_t initial_scale_power, loss_scale_window, hysteresis;
    bool consecutive_hysteresis;
    double min_loss_scale;
} lt_config_fp16;

typedef struct lt_config_bf16 {
    bool enabled; /* read model.precision */
    bool check_grad_overflow;
} lt_config_bf16;

typedef struct lt_config_activation_checkpointing {
    lt_recompute granularity;
} lt_config_activation_checkpointing;

typedef struct lt_config_optimizer {
    lt_optimizer_kind type; /* both decay weights apart from the gradient, as in DeepSpeed */
} lt_config_optimizer;

/* Parameters of DeepSpeed's schedulers, under DeepSpeed's names; one applies when
 * training.lr_schedule is that scheduler.  warmup_num_steps is training.warmup_steps. */
typedef struct lt_config_scheduler {
    double warmup_min_lr, warmup_max_lr; /* resolved: warmup_max_lr is training.lr unless given */
    lt_warmup_type warmup_type;
    int64_t total_num_steps; /* 0: the steps of the run */
    double warmup_min_ratio, cos_min_ratio;
    double cycle_min_lr, cycle_max_lr, decay_lr_rate;
    int64_t cycle_first_step_size, cycle_second_step_size; /* second 0: as the first */
    int64_t cycle_first_stair_count, cycle_second_stair_count, decay_step_size;
    bool cycle_momentum;
    double cycle_min_mom, cycle_max_mom, decay_mom_rate;
    double lr_range_test_min_lr, lr_range_test_step_rate;
    int64_t lr_range_test_step_size;
    bool lr_range_test_staircase;
} lt_config_scheduler;

typedef struct lt_config_tensorboard {
    char *output_path, *job_name; /* read logging.tensorboard and logging.tensorboard_dir */
} lt_config_tensorboard;

typedef struct lt_config_deepspeed {
    lt_config_zero zero_optimization;
    lt_config_fp16 fp16;
    lt_config_bf16 bf16;
    lt_config_activation_checkpointing activation_checkpointing;
    lt_config_optimizer optimizer;
    lt_config_scheduler scheduler;
    lt_config_tensorboard tensorboard;
} lt_config_deepspeed;

typedef struct lt_config_data {
    char *train; /* manifest; default data/train.manifest */
    char *val;   /* manifest; the default data/val.manifest may be absent, see lt_config_given */
    char *tokenizer; /* "" : the one beside the manifest */
    int64_t seq_len; /* resolved: model.n_positions unless given */
    bool document_masking, shuffle;
} lt_config_data;

typedef struct lt_config_checkpoint {
    char *dir;
    int64_t every_steps;  /* 0: only at the end */
    double every_minutes; /* 0: off */
    bool async;           /* write in the background */
    int64_t keep_last;    /* 0: all */
    char *resume;         /* "auto": the newest in dir if any; "never"; or a checkpoint folder */
} lt_config_checkpoint;

typedef struct lt_config_logging {
    char *dir;
    int64_t every_steps;   /* = deepspeed.steps_per_print */
    bool tensorboard;      /* = deepspeed.tensorboard.enabled */
    char *tensorboard_dir; /* resolved: deepspeed.tensorboard.output_path/job_name, or dir */
    bool timing;           /* time of each phase of a step; = deepspeed.wall_clock_breakdown */
} lt_config_logging;

typedef struct lt_config {
    lt_config_model model;
    lt_config_training training;
    lt_config_deepspeed deepspeed;
    lt_device_kind device;
    lt_device_map device_map;
    int64_t threads; /* CPU threads of one rank; 0: one a usable CPU */
    lt_config_data data;
    lt_config_checkpoint checkpoint;
    lt_config_logging logging;
    struct lt_config_origins *origins; /* where each value came from; private to config/ */
} lt_config;

/* Reads yaml_path ("-" is stdin), then overrides ("--training.lr=1e-4"; a list is comma-separated
 * or repeated), checks, resolves, and reads model.path/config.json if named.  *out untouched on
 * failure.  LT_EUSAGE for anything wrong in the text, "known, not supported yet" included. */
LT_MUST_USE lt_err lt_config_load(lt_config **out, const char *yaml_path, int n_overrides,
                                  const char *const *overrides);
/* The same from memory; `name` stands for the file in sentences.  Opens nothing: with model.path,
 * model.dims stays zero until lt_config_resolve_model. */
LT_MUST_USE lt_err lt_config_parse(lt_config **out, const char *text, size_t n, const char *name,
                                   int n_overrides, const char *const *overrides);
void lt_config_free(lt_config *c); /* NULL is fine */

/* model.dims from model.name or model.path and the explicit dimensions; done by lt_config_load. */
LT_MUST_USE lt_err lt_config_resolve_model(lt_config *c);

/* Fills batch_size, gradient_accumulation_steps, global_batch_size for `world` ranks: any two give
 * the third exactly; one of the first and last alone means accumulation 1; none means
 * batch_size 8. */
LT_MUST_USE lt_err lt_config_resolve_batch(lt_config *c, int64_t world);

/* Refuses by key and line what is understood but not built yet; call before a plan or a run. */
LT_MUST_USE lt_err lt_config_check_runnable(const lt_config *c);

bool lt_config_given(const lt_config *c, const char *key); /* by the file or argv */
void lt_config_where(const lt_config *c, const char *key,
                     lt_buf *out); /* appends "c.yaml:14" ... */
/* Does it belong to overrides?  "--section.key[=...]" does, and any name with a '_', which no
 * option of a program has: its sentence can name the key that was meant. */
bool lt_config_is_option(const char *arg);
/* Takes such options out of argv, which stays NULL-terminated, into overrides (room for *argc), and
 * returns how many.  Without '=' a key of no section is left to the program: --device cpu. */
int lt_config_take_options(int *argc, char **argv, const char **overrides);

/* Every effective value as YAML that loads again, with its origin as a comment. */
void lt_config_print(const lt_config *c, FILE *out);
/* Appends the same without origins: the canonical text kept in checkpoints. */
void lt_config_digest_text(const lt_config *c, lt_buf *out);
/* docs/config.md. */
void lt_config_docs(FILE *out);

#endif
