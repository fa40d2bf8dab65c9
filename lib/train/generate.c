/* train/generate.c - sampling and the generation loop. */
#include "train/generate.h"

#include "base/rng.h"
#include "text/decoder.h"
#include "text/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

lt_err lt_sampling_check(const lt_sampling *s)
{
    if (!(s->temperature >= 0) || s->temperature > 100)
        return lt_fail(LT_EUSAGE, "temperature: expected 0 to 100, found %g", s->temperature);
    if (s->top_k < 0)
        return lt_fail(LT_EUSAGE, "top-k: expected 0 or more, found %lld", (long long)s->top_k);
    if (!(s->top_p > 0) || s->top_p > 1)
        return lt_fail(LT_EUSAGE, "top-p: expected more than 0 and at most 1, found %g", s->top_p);
    return LT_OK;
}

/* Likelier first; equal logits by id, so that the order never depends on qsort. */
static int likelier(const void *a, const void *b)
{
    const lt_candidate *x = a, *y = b;

    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

static int32_t most_likely(const float *logits, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

int32_t lt_sample_token(const float *logits, int64_t n, const lt_sampling *s, uint64_t turn,
                        lt_candidate *scratch)
{
    double total = 0, reached = 0, r, max;
    int64_t kept = n;

    if (s->temperature == 0)
        return most_likely(logits, n);
    for (int64_t i = 0; i < n; i++)
        scratch[i] = (lt_candidate){ logits[i], (int32_t)i };
    qsort(scratch, (size_t)n, sizeof *scratch, likelier);
    if (s->top_k > 0 && s->top_k < kept)
        kept = s->top_k;
    max = (double)scratch[0].logit;
    for (int64_t i = 0; i < kept; i++)
        total += exp(((double)scratch[i].logit - max) / s->temperature);
    for (int64_t i = 0; i < kept && s->top_p < 1; i++) {
        reached += exp(((double)scratch[i].logit - max) / s->temperature);
        if (reached >= s->top_p * total) {
            kept = i + 1;
            total = reached;
        }
    }
    r = lt_random_unit(s->seed, 0x67656e, turn) * total;
    for (int64_t i = 0; i < kept; i++) {
        r -= exp(((double)scratch[i].logit - max) / s->temperature);
        if (r < 0)
            return scratch[i].id;
    }
    return scratch[kept - 1].id;
}

typedef struct generation {
    lt_engine *engine;
    int64_t vocab, limit, chunk; /* limit: positions of the model */
    float *logits;
    lt_candidate *scratch;
    int32_t *ids, *positions;
    int64_t past;
} generation;

/* Runs n tokens through the model; g->logits then tell what follows them. */
static lt_err feed(generation *g, const uint32_t *tokens, int64_t n)
{
    lt_err err = LT_OK;

    while (n > 0 && err == LT_OK) {
        int64_t now = n < g->chunk ? n : g->chunk;

        for (int64_t i = 0; i < now; i++) {
            g->ids[i] = (int32_t)tokens[i];
            g->positions[i] = (int32_t)(g->past + i);
        }
        err = lt_engine_generate(g->engine,
                                 &(lt_engine_batch){ .ids = g->ids, .positions = g->positions },
                                 g->past, now, g->logits);
        g->past += now;
        tokens += now;
        n -= now;
    }
    return err;
}

static lt_err encode_prompt(const lt_tokenizer *t, const lt_model_config *config,
                            const char *prompt, lt_ids *ids)
{
    lt_encoder *encoder = lt_encoder_new(t);
    uint32_t eot = lt_tokenizer_eot_id(t);

    lt_encode(encoder, prompt, strlen(prompt), ids);
    lt_encoder_free(encoder);
    if (ids->size == 0) {
        if (eot == UINT32_MAX)
            return lt_fail(
                LT_EUSAGE,
                "prompt: the tokenizer has no end-of-text token to begin from; give a prompt");
        lt_array_reserve(&ids->data, &ids->capacity, 1, sizeof *ids->data);
        ids->data[ids->size++] = eot;
    }
    if ((int64_t)ids->size >= config->n_positions)
        return lt_fail(LT_EUSAGE, "prompt: %zu tokens leave no room in the model's %lld positions",
                       ids->size, (long long)config->n_positions);
    for (size_t i = 0; i < ids->size; i++)
        if ((int64_t)ids->data[i] >= config->vocab_size)
            return lt_fail(LT_EMISMATCH, "prompt: token id %u, the model has %lld: wrong tokenizer",
                           ids->data[i], (long long)config->vocab_size);
    return LT_OK;
}

/* Ranks go on with rank 0's choice: a logit may differ in its last bit where GPUs chose different
 * algorithms, and all must feed the same token. */
static lt_err share_token(lt_group *group, uint32_t *token)
{
    lt_buf text = { 0 };
    lt_err err;

    if (group->world == 1)
        return LT_OK;
    lt_buf_append(&text, token, sizeof *token);
    LT_TRY(err = lt_group_broadcast(group, &text, 0));
    memcpy(token, text.data, sizeof *token);
fail:
    lt_buf_release(&text);
    return err;
}

static lt_err continue_text(generation *g, const lt_tokenizer *t, int64_t max_tokens,
                            const lt_sampling *s, lt_generate_sink *sink)
{
    lt_decoder decoder;
    lt_buf text = { 0 };
    lt_err err = LT_OK;

    lt_decoder_init(&decoder, t);
    for (int64_t k = 0; k < max_tokens; k++) {
        uint32_t next = (uint32_t)lt_sample_token(g->logits, g->vocab, s, (uint64_t)k, g->scratch);

        LT_TRY(err = share_token(lt_engine_group(g->engine), &next));
        if (next == lt_tokenizer_eot_id(t))
            break;
        if (next >= lt_tokenizer_vocab_size(t))
            continue; /* an id of the model that the tokenizer never makes has no text */
        lt_buf_clear(&text);
        LT_TRY(err = lt_decoder_push(&decoder, next, &text));
        LT_TRY(err = sink->put(sink, text.data ? text.data : "", text.size));
        if (g->past >= g->limit)
            break;
        LT_TRY(err = feed(g, &next, 1));
    }
    lt_buf_clear(&text);
    lt_decoder_finish(&decoder, &text);
    LT_TRY(err = sink->put(sink, text.data ? text.data : "", text.size));
fail:
    lt_buf_release(&text);
    return err;
}

lt_err lt_generate(lt_engine *e, const lt_model_config *config, const lt_tokenizer *t,
                   const char *prompt, int64_t max_tokens, const lt_sampling *s,
                   lt_generate_sink *sink)
{
    generation g = { .engine = e, .vocab = config->vocab_size, .limit = config->n_positions };
    lt_ids ids = { 0 };
    lt_err err;

    LT_TRY(err = lt_sampling_check(s));
    LT_TRY(err = encode_prompt(t, config, prompt, &ids));
    g.chunk = lt_engine_prompt_rows(e);
    g.logits = lt_new_array0((size_t)lt_engine_vocab_rows(e), sizeof *g.logits);
    g.scratch = lt_new_array0((size_t)g.vocab, sizeof *g.scratch);
    g.ids = lt_new_array0((size_t)g.chunk, sizeof *g.ids);
    g.positions = lt_new_array0((size_t)g.chunk, sizeof *g.positions);
    LT_TRY(err = feed(&g, ids.data, (int64_t)ids.size));
    LT_TRY(err = continue_text(&g, t, max_tokens, s, sink));
fail:
    lt_ids_release(&ids);
    free(g.logits);
    free(g.scratch);
    free(g.ids);
    free(g.positions);
    return err;
}
