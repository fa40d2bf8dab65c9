/* config/model_config.c - the named models, and what every model must satisfy. */
#include "config/model_config.h"

#include <string.h>

bool lt_model_config_named(lt_model_config *out, const char *name)
{
    static const struct {
        const char *name;
        int n_layer, n_embd, n_head;
    } models[] = {
        { "gpt2", 12, 768, 12 },
        { "gpt2-medium", 24, 1024, 16 },
        { "gpt2-large", 36, 1280, 20 },
        { "gpt2-xl", 48, 1600, 25 },
    };

    for (size_t i = 0; i < LT_COUNT(models); i++) {
        if (strcmp(models[i].name, name) != 0)
            continue;
        *out = (lt_model_config){
            .family = LT_FAMILY_GPT2,
            .vocab_size = 50257,
            .n_positions = 1024,
            .n_layer = models[i].n_layer,
            .n_embd = models[i].n_embd,
            .n_head = models[i].n_head,
            .n_kv_head = models[i].n_head,
            .head_dim = models[i].n_embd / models[i].n_head,
            .n_inner = 4 * models[i].n_embd,
            .norm = LT_NORM_LAYER,
            .norm_eps = 1e-5,
            .act = LT_ACT_GELU_TANH,
            .tied = true,
            .init_std = 0.02,
            .bos_id = 50256,
            .eos_id = 50256,
        };
        return true;
    }
    return false;
}

lt_err lt_model_config_check(const lt_model_config *m)
{
    const struct {
        const char *key;
        int64_t x, min, max;
    } ranges[] = {
        { "vocab_size", m->vocab_size, 1, 1 << 24 },
        { "n_positions", m->n_positions, 1, 1 << 24 },
        { "n_layer", m->n_layer, 1, 4096 },
        { "n_embd", m->n_embd, 1, 1 << 20 },
        { "n_head", m->n_head, 1, 1 << 16 },
        { "n_inner", m->n_inner, 1, 1 << 22 },
        { "bos_token_id", m->bos_id, -1, m->vocab_size - 1 },
        { "eos_token_id", m->eos_id, -1, m->vocab_size - 1 },
    };

    for (size_t i = 0; i < LT_COUNT(ranges); i++)
        if (ranges[i].x < ranges[i].min || ranges[i].x > ranges[i].max)
            return lt_fail(LT_EUSAGE, "%s: expected %lld to %lld, found %lld", ranges[i].key,
                           (long long)ranges[i].min, (long long)ranges[i].max,
                           (long long)ranges[i].x);
    if (m->n_embd % m->n_head != 0)
        return lt_fail(LT_EUSAGE, "n_embd: expected a multiple of n_head, %lld, found %lld",
                       (long long)m->n_head, (long long)m->n_embd);
    if (m->n_kv_head != m->n_head || m->head_dim != m->n_embd / m->n_head)
        return lt_fail(LT_EUSAGE, "head_dim: expected n_embd / n_head = %lld, found %lld",
                       (long long)(m->n_embd / m->n_head), (long long)m->head_dim);
    if (m->act == LT_ACT_NONE)
        return lt_fail(LT_EUSAGE, "activation: expected gelu_new, gelu, relu or silu, found none");
    if (!(m->norm_eps > 0 && m->norm_eps <= 0.1))
        return lt_fail(LT_EUSAGE, "layer_norm_epsilon: expected more than 0 to 0.1, found %g",
                       m->norm_eps);
    if (!(m->init_std >= 0 && m->init_std <= 10))
        return lt_fail(LT_EUSAGE, "initializer_range: expected 0 to 10, found %g", m->init_std);
    return LT_OK;
}
