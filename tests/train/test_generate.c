/* test_generate.c - the choice of a token, and text through the KV cache against no cache at
 * all. */
#include "train_fixture.h"
#include "base/file.h"
#include "text/decoder.h"
#include "text/encoder.h"
#include "train/generate.h"

#include <math.h>

enum { N = 6, TURNS = 20000 };

static const float logits[N] = { 0.5f, 2.0f, -1.0f, 1.5f, 2.0f, -3.0f };

/* How often each id is chosen over the turns of one text. */
static void count(const lt_sampling *s, int counts[N])
{
    lt_candidate scratch[N];

    memset(counts, 0, N * sizeof *counts);
    for (uint64_t turn = 0; turn < TURNS; turn++)
        counts[lt_sample_token(logits, N, s, turn, scratch)]++;
}

LT_TEST(sample_greedy_takes_the_first_of_the_most_likely)
{
    lt_sampling s = { .temperature = 0, .top_p = 1, .seed = 3 };
    int counts[N];

    count(&s, counts);
    LT_CHECK_INT(counts[1], TURNS);
}

LT_TEST(sample_follows_the_softmax)
{
    static const double temperatures[] = { 0.5, 1, 2 };

    for (size_t k = 0; k < LT_COUNT(temperatures); k++) {
        lt_sampling s = { .temperature = temperatures[k], .top_p = 1, .seed = 11 };
        double total = 0;
        int counts[N];

        for (int i = 0; i < N; i++)
            total += exp((double)logits[i] / s.temperature);
        count(&s, counts);
        for (int i = 0; i < N; i++) {
            double p = exp((double)logits[i] / s.temperature) / total;

            LT_CHECK_NEAR(counts[i], TURNS * p, 5 * sqrt(TURNS * p * (1 - p)) + 1);
        }
    }
}

LT_TEST(sample_temperature_has_its_limits)
{
    lt_sampling cold = { .temperature = 1e-4, .top_p = 1, .seed = 1 };
    lt_sampling hot = { .temperature = 100, .top_p = 1, .seed = 1 };
    int counts[N];

    count(&cold, counts);
    LT_CHECK_INT(counts[1] + counts[4], TURNS); /* the two that are equally likely */
    LT_CHECK_NEAR(counts[1], TURNS / 2.0, 5 * sqrt(TURNS * 0.25));
    count(&hot, counts);
    for (int i = 0; i < N; i++)
        LT_CHECK_NEAR(counts[i], TURNS / (double)N, 0.1 * TURNS / N);
}

LT_TEST(sample_top_k_keeps_k)
{
    lt_sampling s = { .temperature = 1, .top_p = 1, .top_k = 3, .seed = 5 };
    int counts[N];

    count(&s, counts);
    LT_CHECK(counts[1] > 0 && counts[4] > 0 && counts[3] > 0);
    LT_CHECK_INT(counts[1] + counts[4] + counts[3], TURNS);
    s.top_k = 1;
    count(&s, counts);
    LT_CHECK_INT(counts[1], TURNS);
    s.top_k = N + 10; /* more than there are: all */
    count(&s, counts);
    LT_CHECK(counts[5] > 0);
}

LT_TEST(sample_top_p_keeps_the_nucleus)
{
    /* probabilities 0.335 (1), 0.335 (4), 0.203 (3), 0.075 (0), 0.050 ... */
    lt_sampling s = { .temperature = 1, .top_p = 0.8, .seed = 5 };
    int counts[N];

    count(&s, counts);
    LT_CHECK(counts[3] > 0);
    LT_CHECK_INT(counts[1] + counts[4] + counts[3], TURNS);
    LT_CHECK_NEAR(counts[3], TURNS * 0.2327, 5 * sqrt(TURNS * 0.18)); /* shares of what is kept */
    s.top_p = 0.5;
    count(&s, counts);
    LT_CHECK_INT(counts[1] + counts[4], TURNS);
    s.top_p = 1e-9;
    count(&s, counts);
    LT_CHECK_INT(counts[1], TURNS);
    s.top_p = 0.8; /* of the k most likely */
    s.top_k = 2;
    count(&s, counts);
    LT_CHECK(counts[4] > 0);
    LT_CHECK_INT(counts[1] + counts[4], TURNS);
}

LT_TEST(sample_is_a_function_of_seed_and_turn)
{
    lt_sampling a = { .temperature = 1, .top_p = 1, .seed = 1 }, b = a;
    lt_candidate scratch[N];
    int differ = 0;

    b.seed = 2;
    for (uint64_t turn = 500; turn-- > 0;) { /* any order of turns */
        int32_t once = lt_sample_token(logits, N, &a, turn, scratch);

        differ += lt_sample_token(logits, N, &b, turn, scratch) != once;
        LT_CHECK_INT(lt_sample_token(logits, N, &a, turn, scratch), once);
    }
    LT_CHECK(differ > 200);
}

LT_TEST(sample_never_chooses_what_cannot_be)
{
    const float some[N] = { -INFINITY, 0, -INFINITY, 0, -INFINITY, 0 };
    lt_sampling s = { .temperature = 1, .top_p = 1, .seed = 9 };
    lt_candidate scratch[N];

    for (uint64_t turn = 0; turn < 1000; turn++)
        LT_CHECK_INT(lt_sample_token(some, N, &s, turn, scratch) % 2, 1);
}

LT_TEST(sampling_settings_are_checked)
{
    LT_CHECK_OK(lt_sampling_check(&(lt_sampling){ .temperature = 0.8, .top_p = 1 }));
    LT_CHECK_FAILS(lt_sampling_check(&(lt_sampling){ .temperature = -1, .top_p = 1 }), LT_EUSAGE,
                   "temperature: expected 0 to 100, found -1");
    LT_CHECK_FAILS(lt_sampling_check(&(lt_sampling){ .temperature = NAN, .top_p = 1 }), LT_EUSAGE,
                   "temperature");
    LT_CHECK_FAILS(lt_sampling_check(&(lt_sampling){ .top_p = 0 }), LT_EUSAGE,
                   "top-p: expected more than 0 and at most 1, found 0");
    LT_CHECK_FAILS(lt_sampling_check(&(lt_sampling){ .top_p = 1.5 }), LT_EUSAGE, "top-p");
    LT_CHECK_FAILS(lt_sampling_check(&(lt_sampling){ .top_p = 1, .top_k = -1 }), LT_EUSAGE,
                   "top-k");
}

/* ---- with a model */

typedef struct writer {
    lt_model_config config;
    lt_tokenizer *tokenizer;
    lt_engine *engine;
} writer;

enum { POSITIONS = 24, CHUNK = 4 };

/* Fresh weights, wide enough that the text is not one token over and over. */
static lt_err writer_open(writer *w)
{
    lt_engine_options o;
    lt_err err;

    w->config = fix_config();
    w->config.n_positions = POSITIONS;
    w->config.init_std = 0.4;
    LT_TRY(err = lt_tokenizer_open(&w->tokenizer, lt_test_data("train/tokenizer.json")));
    w->config.vocab_size = lt_tokenizer_vocab_size(w->tokenizer);
    o = fix_options(&w->config, 1);
    o.training = false;
    o.shape.seq = POSITIONS;
    o.shape.uses[LT_USE_TRAIN] = o.shape.uses[LT_USE_EVALUATE] = false;
    o.shape.uses[LT_USE_LOGITS] = o.shape.uses[LT_USE_GENERATE] = true;
    o.shape.generate_batch = 1;
    o.shape.generate_prompt = CHUNK; /* a longer prompt goes in pieces */
    o.shape.generate_total = POSITIONS;
    LT_TRY(err = lt_engine_open(&w->engine, &o));
    err = lt_engine_init_weights(w->engine, 5);
fail:
    return err;
}

static void writer_close(writer *w)
{
    lt_engine_close(w->engine);
    lt_tokenizer_free(w->tokenizer);
}

typedef struct collect {
    lt_generate_sink sink;
    lt_buf text;
    size_t before;  /* the size of text before the last put, which ends it */
    int puts, most; /* most > 0: fail beyond so many */
} collect;

static lt_err put(lt_generate_sink *sink, const char *text, size_t n)
{
    collect *c = (collect *)sink;

    c->before = c->text.size;
    lt_buf_append(&c->text, text, n);
    if (++c->puts > c->most && c->most > 0)
        return lt_fail(LT_EIO, "the reader went away");
    return LT_OK;
}

static lt_err write_text(writer *w, const char *prompt, int64_t n, lt_sampling s, collect *out)
{
    *out = (collect){ .sink = { put } };
    return lt_generate(w->engine, &w->config, w->tokenizer, prompt, n, &s, &out->sink);
}

static int64_t argmax(const float *x, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* The greedy text of up to n tokens, everything computed again for every token. */
static lt_err greedy_again(writer *w, const char *prompt, int64_t n, lt_buf *text)
{
    int64_t stride = lt_engine_vocab_rows(w->engine), used;
    float *all = lt_new_array0((size_t)(POSITIONS * stride), sizeof *all);
    int32_t ids[POSITIONS] = { 0 }, targets[POSITIONS] = { 0 }, positions[POSITIONS];
    lt_encoder *encoder = lt_encoder_new(w->tokenizer);
    lt_decoder decoder;
    lt_ids start = { 0 };
    lt_err err = LT_OK;

    lt_decoder_init(&decoder, w->tokenizer);
    lt_encode(encoder, prompt, strlen(prompt), &start);
    used = (int64_t)start.size;
    for (int64_t i = 0; i < POSITIONS; i++)
        positions[i] = (int32_t)i;
    for (int64_t i = 0; i < used; i++)
        ids[i] = (int32_t)start.data[i];
    for (int64_t k = 0; k < n && used <= POSITIONS; k++) {
        lt_engine_batch batch = { .ids = ids, .targets = targets, .positions = positions };
        int64_t next;

        LT_TRY(err = lt_engine_logits(w->engine, &batch, all));
        next = argmax(all + (used - 1) * stride, w->config.vocab_size);
        if (next == (int64_t)lt_tokenizer_eot_id(w->tokenizer))
            break;
        LT_TRY(err = lt_decoder_push(&decoder, (uint32_t)next, text));
        if (used < POSITIONS)
            ids[used] = (int32_t)next;
        used++;
    }
    lt_decoder_finish(&decoder, text);
fail:
    lt_encoder_free(encoder);
    lt_ids_release(&start);
    free(all);
    return err;
}

LT_TEST(generate_with_a_cache_is_generate_without)
{
    static const char *const prompts[] = { "And God", "In the beginning God", "x" };
    writer w = { 0 };

    LT_CHECK_OK(writer_open(&w));
    for (size_t i = 0; i < LT_COUNT(prompts); i++) {
        lt_buf again = { 0 };
        collect out;

        LT_CHECK_OK(write_text(&w, prompts[i], 1000, (lt_sampling){ .top_p = 1 }, &out));
        LT_CHECK_OK(greedy_again(&w, prompts[i], 1000, &again));
        LT_CHECK_STR(lt_buf_cstr(&out.text), lt_buf_cstr(&again));
        LT_CHECK(out.text.size > 0);
        lt_buf_release(&out.text);
        lt_buf_release(&again);
    }
    writer_close(&w);
}

LT_TEST(generate_logits_through_the_cache_are_those_of_the_whole_text)
{
    writer w = { 0 };
    int32_t ids[POSITIONS], targets[POSITIONS] = { 0 }, positions[POSITIONS];
    int64_t stride, v;
    float *all, *one;

    LT_CHECK_OK(writer_open(&w));
    stride = lt_engine_vocab_rows(w.engine);
    v = w.config.vocab_size;
    all = lt_new_array0((size_t)(POSITIONS * stride), sizeof *all);
    one = lt_new_array0((size_t)stride, sizeof *one);
    for (int i = 0; i < POSITIONS; i++) {
        ids[i] = (int32_t)(lt_random_u64(1, 2, (uint64_t)i) % (uint64_t)v);
        positions[i] = i;
    }
    LT_CHECK_OK(lt_engine_logits(
        w.engine, &(lt_engine_batch){ .ids = ids, .targets = targets, .positions = positions },
        all));
    for (int past = 0, turn = 0; past < POSITIONS; turn++) { /* 1, 2, 3, 4, 1, 2, ... new tokens */
        int n = 1 + turn % CHUNK;

        n = past + n > POSITIONS ? POSITIONS - past : n;
        LT_CHECK_OK(lt_engine_generate(
            w.engine, &(lt_engine_batch){ .ids = ids + past, .positions = positions + past }, past,
            n, one));
        past += n;
        for (int64_t i = 0; i < v; i++)
            LT_CHECK_NEAR(one[i], all[(past - 1) * stride + i], 1e-4);
    }
    free(all);
    free(one);
    writer_close(&w);
}

LT_TEST(generate_same_seed_same_text)
{
    lt_sampling s = { .temperature = 1, .top_p = 0.95, .top_k = 100, .seed = 42 }, other = s;
    writer w = { 0 };
    collect a, b, c;

    other.seed = 43;
    LT_CHECK_OK(writer_open(&w));
    LT_CHECK_OK(write_text(&w, "And God", 15, s, &a));
    LT_CHECK_OK(write_text(&w, "And God", 15, other, &b));
    LT_CHECK_OK(write_text(&w, "And God", 15, s, &c));
    LT_CHECK_STR(lt_buf_cstr(&a.text), lt_buf_cstr(&c.text));
    LT_CHECK(strcmp(lt_buf_cstr(&a.text), lt_buf_cstr(&b.text)) != 0);
    lt_buf_release(&a.text);
    lt_buf_release(&b.text);
    lt_buf_release(&c.text);
    writer_close(&w);
}

LT_TEST(generate_counts_tokens_and_ends_with_the_positions)
{
    lt_sampling s = { .temperature = 1, .top_p = 1, .seed = 1 };
    writer w = { 0 };
    collect few, all;

    LT_CHECK_OK(writer_open(&w));
    LT_CHECK_OK(write_text(&w, "x", 3, s, &few));
    LT_CHECK_INT(few.puts, 3 + 1); /* and the end of the text */
    LT_CHECK_OK(write_text(&w, "x", 1000, s, &all));
    LT_CHECK(all.puts <= POSITIONS + 1);
    LT_CHECK(all.text.size > few.text.size);
    LT_CHECK(memcmp(all.text.data, few.text.data, few.before) == 0);
    lt_buf_release(&few.text);
    lt_buf_release(&all.text);
    writer_close(&w);
}

LT_TEST(generate_refuses_what_cannot_go_on)
{
    static const char long_prompt[] = "Genesis Exodus Leviticus Numbers Deuteronomy Joshua Judges";
    lt_sampling s = { .temperature = 1, .top_p = 1, .seed = 1 };
    writer w = { 0 };
    collect out;

    LT_CHECK_OK(writer_open(&w));
    LT_CHECK_FAILS(write_text(&w, long_prompt, 5, s, &out), LT_EUSAGE,
                   "leave no room in the model's 24 positions");
    LT_CHECK_OK(write_text(&w, "", 2, s, &out)); /* begins from end-of-text */
    lt_buf_release(&out.text);
    out = (collect){ .sink = { put }, .most = 2 };
    LT_CHECK_FAILS(lt_generate(w.engine, &w.config, w.tokenizer, "x", 9, &s, &out.sink), LT_EIO,
                   "the reader went away");
    LT_CHECK_INT(out.puts, 3);
    lt_buf_release(&out.text);
    s.top_p = 2;
    LT_CHECK_FAILS(write_text(&w, "x", 5, s, &out), LT_EUSAGE, "top-p");
    s.top_p = 1;
    w.config.vocab_size = 50; /* of the model: the prompt needs more */
    LT_CHECK_FAILS(write_text(&w, "xyz", 5, s, &out), LT_EMISMATCH, "wrong tokenizer");
    writer_close(&w);
}
