/* config/resolve_model.c - model.dims from a named model or a Hugging Face folder and the explicit
 * dimensions.  A named model's numbers may be replaced; a folder's must agree, its weights have
 * them. */
#include "config/origin.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* One explicit dimension: `key` replaces or checks the dimension that was found in `from`. */
static lt_err merge(lt_config *c, const char *key, void *dim, size_t bytes, const char *from)
{
    const lt_setting *s = lt_setting_at((size_t)lt_setting_find(key));
    void *field = (char *)c + s->offset;
    lt_setting_value found, given;
    lt_buf text = { 0 };
    lt_origin *o = lt_origin_of(c, key);
    lt_err err;

    if (o->rank < LT_FROM_FILE) {
        memcpy(field, dim, bytes);
        o->rank = LT_FROM_DERIVED;
        free(o->why);
        o->why = lt_strdup(from);
        return LT_OK;
    }
    if (!*c->model.path || memcmp(field, dim, bytes) == 0) {
        memcpy(dim, field, bytes);
        return LT_OK;
    }
    given = lt_setting_fetch(c, s);
    lt_setting_format(&text, s, &given);
    lt_buf_printf(&text, " given, but %s says ", from);
    memcpy(field, dim, bytes);
    found = lt_setting_fetch(c, s);
    lt_setting_format(&text, s, &found);
    err = lt_setting_fail(c, LT_EUSAGE, key, "%s", lt_buf_cstr(&text));
    lt_buf_release(&text);
    return err;
}

static lt_err merge_all(lt_config *c, lt_model_config *m, const char *from)
{
    bool is_4c = !*c->model.path && lt_config_given(c, "model.n_embd") &&
                 !lt_config_given(c, "model.n_inner");
    const struct {
        const char *key;
        void *dim;
        size_t bytes;
        const char *from;
    } dims[] = {
        { "model.vocab_size", &m->vocab_size, sizeof m->vocab_size, from },
        { "model.n_positions", &m->n_positions, sizeof m->n_positions, from },
        { "model.n_layer", &m->n_layer, sizeof m->n_layer, from },
        { "model.n_embd", &m->n_embd, sizeof m->n_embd, from },
        { "model.n_head", &m->n_head, sizeof m->n_head, from },
        { "model.n_inner", &m->n_inner, sizeof m->n_inner, is_4c ? "4 x model.n_embd" : from },
        { "model.activation", &m->act, sizeof m->act, from },
        { "model.layer_norm_epsilon", &m->norm_eps, sizeof m->norm_eps, from },
        { "model.initializer_range", &m->init_std, sizeof m->init_std, from },
        { "model.tie_word_embeddings", &m->tied, sizeof m->tied, from },
    };
    lt_err err = LT_OK;

    if (is_4c)
        m->n_inner = 4 * c->model.n_embd;
    for (size_t i = 0; i < LT_COUNT(dims); i++)
        LT_TRY(err = merge(c, dims[i].key, dims[i].dim, dims[i].bytes, dims[i].from));
    m->n_kv_head = m->n_head;
    m->head_dim = m->n_embd / m->n_head;
    if (m->bos_id >= m->vocab_size)
        m->bos_id = -1; /* the named model's vocabulary was replaced by a smaller one */
    if (m->eos_id >= m->vocab_size)
        m->eos_id = -1;
fail:
    return err;
}

static lt_err resolve_seq_len(lt_config *c)
{
    if (!lt_config_given(c, "data.seq_len"))
        lt_derive_int(c, "data.seq_len", c->model.dims.n_positions, "model.n_positions");
    if (c->data.seq_len > c->model.dims.n_positions)
        return lt_setting_fail(c, LT_EUSAGE, "data.seq_len",
                               "expected at most model.n_positions, %lld, found %lld",
                               (long long)c->model.dims.n_positions, (long long)c->data.seq_len);
    return LT_OK;
}

lt_err lt_config_resolve_model(lt_config *c)
{
    const char *from = c->model.name;
    lt_model_config m = { 0 };
    char *path = NULL;
    lt_err err;

    if (*c->model.path) {
        from = path = lt_path_join(c->model.path, "config.json");
        LT_TRY(err = lt_model_config_from_hf(&m, &c->model.hf_dropout, path));
    } else if (!lt_model_config_named(&m, c->model.name)) {
        return lt_setting_fail(c, LT_EUSAGE, "model.name",
                               "expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found \"%s\"; a "
                               "folder is model.path",
                               c->model.name);
    }
    LT_TRY(err = merge_all(c, &m, from));
    if ((err = lt_model_config_check(&m)) != LT_OK) {
        lt_fail_in("%s: model", c->origins->name);
        goto fail;
    }
    c->model.dims = m;
    LT_TRY(err = resolve_seq_len(c));
fail:
    free(path);
    return err;
}
