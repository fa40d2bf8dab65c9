/* config/setting.c - finding rows of the option table,
 * and the row that a wrong key was meant to be. */
#include "config/setting.h"
#include "base/options.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What other trainers call our settings. */
static const struct {
    const char *word, *key;
} other_names[] = {
    { "learning_rate", "training.lr" },
    { "max_lr", "training.lr" },
    { "min_learning_rate", "training.min_lr" },
    { "max_steps", "training.steps" },
    { "train_steps", "training.steps" },
    { "num_steps", "training.steps" },
    { "max_iters", "training.steps" },
    { "num_epochs", "training.epochs" },
    { "num_train_epochs", "training.epochs" },
    { "max_tokens", "training.tokens" },
    { "per_device_train_batch_size", "training.batch_size" },
    { "device_batch_size", "training.batch_size" },
    { "total_batch_size", "training.global_batch_size" },
    { "max_grad_norm", "training.gradient_clipping" },
    { "grad_clip", "training.gradient_clipping" },
    { "clip_grad", "training.gradient_clipping" },
    { "grad_accum_steps", "training.gradient_accumulation_steps" },
    { "num_warmup_steps", "training.warmup_steps" },
    { "warmup_ratio", "training.warmup_steps" },
    { "lr_scheduler_type", "training.lr_schedule" },
    { "adam_betas", "training.betas" },
    { "adam_beta1", "training.betas" },
    { "adam_beta2", "training.betas" },
    { "adam_epsilon", "training.eps" },
    { "eval_steps", "training.eval_every_steps" },
    { "eval_interval", "training.eval_every_steps" },
    { "evaluation_strategy", "training.eval_every_steps" },
    { "data_seed", "training.seed" },
    { "tf32", "training.allow_tf32" },
    { "model_name_or_path", "model.path" },
    { "pretrained_model_name_or_path", "model.path" },
    { "dtype", "model.precision" },
    { "torch_dtype", "model.precision" },
    { "mixed_precision", "model.precision" },
    { "hidden_size", "model.n_embd" },
    { "num_hidden_layers", "model.n_layer" },
    { "num_layers", "model.n_layer" },
    { "num_attention_heads", "model.n_head" },
    { "intermediate_size", "model.n_inner" },
    { "max_position_embeddings", "model.n_positions" },
    { "n_ctx", "model.n_positions" },
    { "hidden_act", "model.activation" },
    { "attn_implementation", "model.attention" },
    { "block_size", "data.seq_len" },
    { "max_seq_length", "data.seq_len" },
    { "model_max_length", "data.seq_len" },
    { "context_length", "data.seq_len" },
    { "sequence_length", "data.seq_len" },
    { "train_file", "data.train" },
    { "validation_file", "data.val" },
    { "save_steps", "checkpoint.every_steps" },
    { "save_interval", "checkpoint.every_steps" },
    { "save_total_limit", "checkpoint.keep_last" },
    { "async_save", "checkpoint.async" },
    { "max_time", "training.max_wallclock" },
    { "output_dir", "checkpoint.dir" },
    { "resume_from_checkpoint", "checkpoint.resume" },
    { "logging_steps", "logging.every_steps" },
    { "log_interval", "logging.every_steps" },
    { "logging_dir", "logging.dir" },
    { "log_dir", "logging.dir" },
    { "report_to", "logging.tensorboard" },
    { "use_cpu", "device" },
    { "no_cuda", "device" },
    { "zero_stage", "deepspeed.zero_optimization.stage" },
    { "gradient_checkpointing", "deepspeed.activation_checkpointing.granularity" },
};

size_t lt_setting_count(void)
{
    return lt_n_settings_ours + lt_n_settings_deepspeed;
}

const lt_setting *lt_setting_at(size_t i)
{
    return i < lt_n_settings_ours ? &lt_settings_ours[i]
                                  : &lt_settings_deepspeed[i - lt_n_settings_ours];
}

int lt_setting_find(const char *key)
{
    for (size_t i = 0; i < lt_setting_count(); i++)
        if (strcmp(lt_setting_at(i)->key, key) == 0)
            return (int)i;
    return -1;
}

/* The owners of all rows, worked out once: the table is constant, the search is quadratic. */
enum { MOST_SETTINGS = 256 };
static int owners[MOST_SETTINGS];
static pthread_once_t owners_once = PTHREAD_ONCE_INIT;

static int find_owner(int i)
{
    size_t offset = lt_setting_at((size_t)i)->offset;

    for (int j = 0; offset != LT_SETTING_NO_FIELD && j < (int)lt_setting_count(); j++) {
        const lt_setting *s = lt_setting_at((size_t)j);

        if (s->offset == offset && s->type != LT_SETTING_ONOFF)
            return j;
    }
    return i;
}

static void find_owners(void)
{
    LT_BUG_ON(lt_setting_count() > MOST_SETTINGS);
    for (int i = 0; i < (int)lt_setting_count(); i++)
        owners[i] = find_owner(i);
}

int lt_setting_owner(int i)
{
    pthread_once(&owners_once, find_owners);
    return owners[i];
}

const char *lt_setting_last(const char *key)
{
    const char *dot = strrchr(key, '.');

    return dot ? dot + 1 : key;
}

/* Does `key` lie directly in the section that the first n bytes of `parent` name? */
static bool is_child(const char *key, const char *parent, size_t n)
{
    const char *last = lt_setting_last(key);

    if (n == 0)
        return last == key;
    return (size_t)(last - key) == n + 1 && strncmp(key, parent, n) == 0;
}

/* A shorter word is near to something in a table this long by chance. */
enum { SHORTEST_ANYWHERE = 5 };

typedef struct candidates {
    const char **words; /* with room for a closing NULL */
    const char **keys;
    size_t n;
} candidates;

static void add(candidates *c, const char *word, const char *key)
{
    c->words[c->n] = word;
    c->keys[c->n++] = key;
    c->words[c->n] = NULL;
}

/* The key that stands for the word nearest to `word`, NULL if none is near. */
static const char *nearest_key(const candidates *c, const char *word)
{
    const char *near = c->n ? lt_nearest(word, c->words) : NULL;

    for (size_t i = 0; near && i < c->n; i++)
        if (c->words[i] == near)
            return c->keys[i];
    return NULL;
}

/* In turn: what other trainers call it, the same last word in another section, the neighbours and
 * what other trainers call things nearly so, any word of the table. */
static const char *meant(const char *key, candidates *c)
{
    const char *word = lt_setting_last(key), *found;
    size_t n_parent = word == key ? 0 : (size_t)(word - key) - 1;

    for (size_t i = 0; i < LT_COUNT(other_names); i++)
        if (strcmp(other_names[i].word, word) == 0)
            return other_names[i].key;
    for (size_t i = 0; i < lt_setting_count(); i++)
        if (strcmp(lt_setting_last(lt_setting_at(i)->key), word) == 0)
            return lt_setting_at(i)->key;
    for (size_t i = 0; i < lt_setting_count(); i++)
        if (is_child(lt_setting_at(i)->key, key, n_parent))
            add(c, lt_setting_last(lt_setting_at(i)->key), lt_setting_at(i)->key);
    for (size_t i = 0; i < LT_COUNT(other_names); i++)
        add(c, other_names[i].word, other_names[i].key);
    found = nearest_key(c, word);
    if (found)
        return found;
    if (strlen(word) < SHORTEST_ANYWHERE)
        return NULL;
    c->n = 0;
    for (size_t i = 0; i < lt_setting_count(); i++)
        add(c, lt_setting_last(lt_setting_at(i)->key), lt_setting_at(i)->key);
    return nearest_key(c, word);
}

bool lt_setting_suggest(const char *key, lt_buf *out)
{
    size_t room = lt_setting_count() + LT_COUNT(other_names) + 1;
    candidates c = { .words = lt_new_array0(room, sizeof *c.words),
                     .keys = lt_new_array0(room, sizeof *c.keys) };
    const char *found = meant(key, &c);

    if (found)
        lt_buf_printf(out, "%s", found);
    free(c.words);
    free(c.keys);
    return found != NULL;
}
