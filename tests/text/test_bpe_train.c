/* test_bpe_train.c - learning merges, against what Hugging Face's trainer learnt. */
#include "base/file.h"
#include "lt_test.h"
#include "text/bpe_train.h"
#include "text/encoder.h"

#include <stdlib.h>

static const char *const specials[] = { "<|endoftext|>", "<pad>" };

static lt_err train_on(lt_tokenizer **out, const char *text, size_t n, int64_t vocab_size,
                       int64_t min_frequency)
{
    lt_bpe_train_options o = { .vocab_size = vocab_size,
                               .min_frequency = min_frequency,
                               .specials = specials,
                               .n_specials = 2 };
    lt_word_counts words = { 0 };
    lt_err err;

    LT_TRY(err = lt_word_counts_text(&words, text, n));
    lt_word_counts_sort(&words);
    err = lt_bpe_train(out, &words, &o);
fail:
    lt_word_counts_release(&words);
    return err;
}

LT_TEST(bpe_train_equals_hugging_face)
{
    lt_tokenizer *ours, *theirs, *again;
    lt_buf text = { 0 }, json = { 0 };

    LT_CHECK_OK(lt_file_read_all(&text, lt_test_data("text/train_sample.txt"), 1 << 20));
    LT_CHECK_OK(train_on(&ours, text.data, text.size, 700, 2));
    LT_CHECK_OK(lt_tokenizer_open(&theirs, lt_test_data("text/hf_train.json")));
    LT_CHECK_INT(lt_tokenizer_vocab_size(ours), lt_tokenizer_vocab_size(theirs));
    LT_CHECK(memcmp(lt_tokenizer_hash(ours), lt_tokenizer_hash(theirs), 32) == 0);
    LT_CHECK_INT(lt_tokenizer_eot_id(ours), 0);

    lt_tokenizer_to_json(ours, &json); /* what is written is the same tokenizer */
    LT_CHECK_OK(lt_tokenizer_parse(&again, json.data, json.size, "ours"));
    LT_CHECK(memcmp(lt_tokenizer_hash(ours), lt_tokenizer_hash(again), 32) == 0);
    lt_tokenizer_free(ours);
    lt_tokenizer_free(theirs);
    lt_tokenizer_free(again);
    lt_buf_release(&text);
    lt_buf_release(&json);
}

LT_TEST(bpe_train_stops_when_pairs_run_out)
{
    lt_tokenizer *t;
    lt_encoder *e;
    lt_ids ids = { 0 };

    LT_CHECK_OK(train_on(&t, "abab abab x", 11, 1000, 2)); /* ab, abab; then " abab" is once */
    LT_CHECK_INT(lt_tokenizer_vocab_size(t), 2 + 256 + 2);
    e = lt_encoder_new(t);
    lt_encode(e, "abab", 4, &ids);
    LT_CHECK_INT(ids.size, 1);
    LT_CHECK_INT(ids.data[0], 259);
    lt_ids_release(&ids);
    lt_encoder_free(e);
    lt_tokenizer_free(t);
}

LT_TEST(bpe_train_refuses_a_small_vocabulary)
{
    lt_tokenizer *t;

    LT_CHECK_FAILS(train_on(&t, "text", 4, 257, 1), LT_EUSAGE, "expected 258 to");
}

LT_TEST(word_counts_add_up_in_any_order)
{
    lt_word_counts a = { 0 }, b = { 0 };
    char *word = lt_new0(LT_WORD_COUNT_MAX + 2);

    memset(word, 'w', LT_WORD_COUNT_MAX + 1);
    LT_CHECK_OK(lt_word_counts_text(&a, "one two two", 11));
    LT_CHECK_OK(lt_word_counts_text(&b, " two one", 8));
    LT_CHECK_OK(lt_word_counts_text(&b, word, LT_WORD_COUNT_MAX + 1));
    LT_CHECK_OK(lt_word_counts_merge(&b, &a));
    lt_word_counts_sort(&b);
    LT_CHECK_INT(b.n, 3); /* " one", " two", "one" */
    LT_CHECK_INT(b.words[0].count, 1);
    LT_CHECK_INT(b.words[1].count, 3);
    LT_CHECK_INT(b.words[2].count, 1);
    LT_CHECK_INT(b.n_skipped, 1);
    lt_word_counts_release(&a);
    lt_word_counts_release(&b);
    free(word);
}
