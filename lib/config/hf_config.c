/* config/hf_config.c - Hugging Face's config.json and generation_config.json, both directions.
 *
 * Reading is strict where the numbers would change: a key that asks for something lt does not
 * execute is refused by name and value; keys without effect on training are passed over. */
#include "config/model_config.h"
#include "base/json.h"
#include "config/setting_value.h"

#include <string.h>

enum { CONFIG_MAX_BYTES = 1 << 20 };

static const struct {
    const char *name;
    lt_act act;
} activations[] = {
    /* the first name of each is the one that is written */
    { "gelu_new", LT_ACT_GELU_TANH }, { "gelu_pytorch_tanh", LT_ACT_GELU_TANH },
    { "gelu", LT_ACT_GELU_ERF },      { "relu", LT_ACT_RELU },
    { "silu", LT_ACT_SILU },          { "swish", LT_ACT_SILU },
};

static lt_err check_architecture(const json_t *root, const char *path)
{
    const json_t *list = json_object_get(root, "architectures"), *item;
    const char *type;
    size_t i;
    lt_err err;

    LT_TRY(err = lt_json_string(root, "model_type", &type, path));
    if (strcmp(type, "gpt2") != 0)
        return lt_fail(LT_ENOTSUP, "%s: model_type: expected gpt2, found \"%.60s\"", path, type);
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);

        if (!name || (strcmp(name, "GPT2LMHeadModel") != 0 && strcmp(name, "GPT2Model") != 0))
            return lt_fail(LT_ENOTSUP, "%s: architectures: expected GPT2LMHeadModel, found %.60s",
                           path, name ? name : "something that is no name");
    }
fail:
    return err;
}

/* Switches that would change the computation: each must have the value that lt executes. */
static lt_err check_switches(const json_t *root, const char *path)
{
    static const struct {
        const char *key;
        bool executed;
    } switches[] = {
        { "scale_attn_by_inverse_layer_idx", false },
        { "reorder_and_upcast_attn", false },
        { "add_cross_attention", false },
        { "is_encoder_decoder", false },
        { "scale_attn_weights", true },
    };
    lt_err err = LT_OK;

    for (size_t i = 0; i < LT_COUNT(switches); i++) {
        bool found = switches[i].executed;

        LT_TRY(err = lt_json_opt_bool(root, switches[i].key, &found, path));
        if (found != switches[i].executed)
            return lt_fail(LT_ENOTSUP, "%s: %s: %s is not supported", path, switches[i].key,
                           found ? "true" : "false");
    }
    if (json_is_object(json_object_get(root, "quantization_config")))
        return lt_fail(LT_ENOTSUP, "%s: quantization_config: quantised weights are not supported",
                       path);
fail:
    return err;
}

static lt_err read_activation(lt_act *out, const json_t *root, const char *path)
{
    const json_t *value = json_object_get(root, "activation_function");
    const char *name = "gelu_new"; /* what transformers takes when the key is absent */
    lt_err err;

    if (value)
        LT_TRY(err = lt_json_string(root, "activation_function", &name, path));
    for (size_t i = 0; i < LT_COUNT(activations); i++)
        if (strcmp(activations[i].name, name) == 0) {
            *out = activations[i].act;
            return LT_OK;
        }
    return lt_fail(LT_ENOTSUP,
                   "%s: activation_function: expected gelu_new, gelu, gelu_pytorch_tanh, relu or "
                   "silu, found \"%.60s\"",
                   path, name);
fail:
    return err;
}

static lt_err read_dimensions(lt_model_config *m, const json_t *root, const char *path)
{
    const int64_t most = 1 << 24;
    lt_err err;

    LT_TRY(err = lt_json_int(root, "vocab_size", 1, most, &m->vocab_size, path));
    LT_TRY(err = lt_json_int(root, "n_positions", 1, most, &m->n_positions, path));
    LT_TRY(err = lt_json_int(root, "n_layer", 1, most, &m->n_layer, path));
    LT_TRY(err = lt_json_int(root, "n_embd", 1, most, &m->n_embd, path));
    LT_TRY(err = lt_json_int(root, "n_head", 1, most, &m->n_head, path));
    m->n_kv_head = m->n_head;
    m->head_dim = m->n_embd / m->n_head;
    m->n_inner = 4 * m->n_embd;
    LT_TRY(err = lt_json_opt_int(root, "n_inner", 1, most, &m->n_inner, path));
    LT_TRY(err = lt_json_opt_int(root, "bos_token_id", 0, most, &m->bos_id, path));
    LT_TRY(err = lt_json_opt_int(root, "eos_token_id", 0, most, &m->eos_id, path));
fail:
    return err;
}

static lt_err read_dropout(double *out, const json_t *root, const char *path)
{
    static const char *const keys[] = { "resid_pdrop", "embd_pdrop", "attn_pdrop" };
    lt_err err = LT_OK;

    *out = 0;
    for (size_t i = 0; i < LT_COUNT(keys); i++) {
        double p = 0.1; /* what transformers takes when the key is absent */

        LT_TRY(err = lt_json_opt_real(root, keys[i], &p, path));
        if (!(p >= 0 && p < 1))
            return lt_fail(LT_EFORMAT, "%s: %s: expected 0 to below 1, found %g", path, keys[i], p);
        *out = p > *out ? p : *out;
    }
fail:
    return err;
}

lt_err lt_model_config_from_hf(lt_model_config *out, double *dropout, const char *path)
{
    lt_model_config m = { .family = LT_FAMILY_GPT2,
                          .norm = LT_NORM_LAYER,
                          .norm_eps = 1e-5,
                          .tied = true,
                          .init_std = 0.02,
                          .bos_id = -1,
                          .eos_id = -1 };
    json_t *root = NULL;
    double largest;
    lt_err err;

    LT_TRY(err = lt_json_load(&root, path, CONFIG_MAX_BYTES));
    LT_TRY(err = check_architecture(root, path));
    LT_TRY(err = check_switches(root, path));
    LT_TRY(err = read_dimensions(&m, root, path));
    LT_TRY(err = read_activation(&m.act, root, path));
    LT_TRY(err = lt_json_opt_real(root, "layer_norm_epsilon", &m.norm_eps, path));
    LT_TRY(err = lt_json_opt_real(root, "initializer_range", &m.init_std, path));
    LT_TRY(err = lt_json_opt_bool(root, "tie_word_embeddings", &m.tied, path));
    LT_TRY(err = read_dropout(&largest, root, path));
    if (lt_model_config_check(&m) != LT_OK) {
        err = lt_fail(LT_EFORMAT, "%s: %s", path, lt_err_text());
        goto fail;
    }
    *out = m;
    *dropout = largest;
fail:
    json_decref(root);
    return err;
}

static void append_id(lt_buf *out, const char *key, int64_t id)
{
    if (id < 0)
        lt_buf_printf(out, "  \"%s\": null,\n", key);
    else
        lt_buf_printf(out, "  \"%s\": %lld,\n", key, (long long)id);
}

static void append_int(lt_buf *out, const char *key, int64_t x)
{
    lt_buf_printf(out, "  \"%s\": %lld,\n", key, (long long)x);
}

static void append_real(lt_buf *out, const char *key, double x)
{
    lt_buf_printf(out, "  \"%s\": ", key);
    lt_real_format(out, x);
    lt_buf_printf(out, ",\n");
}

void lt_model_config_to_hf(lt_buf *out, const lt_model_config *m, const char *dtype)
{
    const char *act = NULL;

    LT_BUG_ON(m->family != LT_FAMILY_GPT2);
    for (size_t i = 0; i < LT_COUNT(activations) && !act; i++)
        if (activations[i].act == m->act)
            act = activations[i].name;
    LT_BUG_ON(!act);
    lt_buf_printf(out,
                  "{\n"
                  "  \"architectures\": [\"GPT2LMHeadModel\"],\n"
                  "  \"model_type\": \"gpt2\",\n"
                  "  \"activation_function\": \"%s\",\n"
                  "  \"attn_pdrop\": 0.0,\n  \"embd_pdrop\": 0.0,\n  \"resid_pdrop\": 0.0,\n",
                  act);
    append_id(out, "bos_token_id", m->bos_id);
    append_id(out, "eos_token_id", m->eos_id);
    append_real(out, "initializer_range", m->init_std);
    append_real(out, "layer_norm_epsilon", m->norm_eps);
    append_int(out, "n_embd", m->n_embd);
    append_int(out, "n_head", m->n_head);
    if (m->n_inner == 4 * m->n_embd)
        lt_buf_printf(out, "  \"n_inner\": null,\n");
    else
        append_int(out, "n_inner", m->n_inner);
    append_int(out, "n_layer", m->n_layer);
    append_int(out, "n_positions", m->n_positions);
    append_int(out, "vocab_size", m->vocab_size);
    /* transformers 5 reads dtype, 4 torch_dtype */
    lt_buf_printf(out,
                  "  \"reorder_and_upcast_attn\": false,\n"
                  "  \"scale_attn_by_inverse_layer_idx\": false,\n"
                  "  \"scale_attn_weights\": true,\n"
                  "  \"tie_word_embeddings\": %s,\n"
                  "  \"dtype\": \"%s\",\n  \"torch_dtype\": \"%s\",\n"
                  "  \"use_cache\": true\n}\n",
                  m->tied ? "true" : "false", dtype, dtype);
}

void lt_generation_config_to_hf(lt_buf *out, const lt_model_config *m)
{
    lt_buf_printf(out, "{\n  \"_from_model_config\": true,\n");
    append_id(out, "bos_token_id", m->bos_id);
    append_id(out, "eos_token_id", m->eos_id);
    lt_buf_printf(out, "  \"use_cache\": true\n}\n");
}
