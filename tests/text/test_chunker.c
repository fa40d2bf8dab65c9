/* test_chunker.c - inputs into chunks: any chunk size must give the same documents and tokens. */
#include "base/file.h"
#include "base/rng.h"
#include "lt_test.h"
#include "text/chunk_texts.h"
#include "text/encoder.h"

#include <stdlib.h>

/* Collects all texts: documents end in \x01, and their ids. */
typedef struct collector {
    lt_text_sink sink;
    lt_encoder *encoder; /* may be NULL */
    lt_buf text;
    lt_ids ids;
    int n_starts, n_ends, n_chunks;
} collector;

static void collect(lt_text_sink *sink, const char *text, size_t n, bool starts, bool ends)
{
    collector *c = (collector *)sink;

    lt_buf_append(&c->text, text, n);
    if (ends)
        lt_buf_append(&c->text, "\x01", 1);
    c->n_starts += starts;
    c->n_ends += ends;
    if (c->encoder)
        lt_encode(c->encoder, text, n, &c->ids);
}

static void clear(collector *c)
{
    lt_buf_clear(&c->text);
    lt_ids_release(&c->ids);
    c->n_starts = c->n_ends = c->n_chunks = 0;
}

static lt_err run(collector *c, const lt_text_options *options, const char *separator,
                  size_t separator_size, size_t target, lt_text_counts *counts)
{
    lt_chunker *chunker = lt_chunker_new(options->inputs, separator, separator_size, target);
    lt_text_scratch scratch = { 0 };
    lt_chunk chunk = { 0 };
    lt_err err;

    clear(c);
    c->sink.text = collect;
    *counts = (lt_text_counts){ 0 };
    for (;;) {
        LT_TRY(err = lt_chunker_next(chunker, &chunk));
        if (chunk.n_parts == 0)
            break;
        c->n_chunks++;
        LT_TRY(err = lt_chunk_texts(&chunk, options, &scratch, counts, &c->sink));
    }
fail:
    lt_chunker_free(chunker);
    lt_chunk_release(&chunk);
    lt_text_scratch_release(&scratch);
    return err;
}

static void random_file(lt_buf *out, uint64_t seed, size_t n_parts)
{
    static const char *const parts[] = { "word",
                                         " the",
                                         "\n",
                                         "  ",
                                         "'s",
                                         "\xe6\x9d\xb1\xe4\xba\xac",
                                         "\xe3\x80\x80",
                                         "12",
                                         "==",
                                         "\xff",
                                         "\xe2\x82",
                                         "--\n--",
                                         "-",
                                         "\xf0\x9f\x98\x80",
                                         "looooooooooooooooooooooong" };

    lt_buf_clear(out);
    for (size_t i = 0; i < n_parts; i++) {
        const char *part = parts[lt_random_u64(seed, 1, i) % LT_COUNT(parts)];

        lt_buf_append(out, part, strlen(part));
    }
}

LT_TEST(chunker_gives_the_same_tokens_for_any_chunk_size)
{
    static const char separator[] = "--\n--";
    lt_tokenizer *t;
    collector whole = { 0 }, cut = { 0 };
    lt_text_counts counts, counts_cut;
    lt_input_list inputs;
    lt_text_options options = { .inputs = &inputs, .field = "text" };
    lt_buf file = { 0 };
    int max_chunks = 0;

    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    whole.encoder = lt_encoder_new(t);
    cut.encoder = lt_encoder_new(t);
    for (uint64_t seed = 0; seed < 60; seed++) {
        size_t separator_size = seed % 2 ? sizeof separator - 1 : 0;

        lt_input_list_init(&inputs);
        for (int i = 0; i < 3; i++) {
            const char *path = lt_test_tmp(i == 0 ? "a.txt" : i == 1 ? "b.txt" : "c.txt");

            random_file(&file, seed * 3 + (uint64_t)i, i == 1 ? seed % 3 : 400);
            LT_CHECK_OK(lt_file_write_atomic(path, lt_buf_cstr(&file), file.size));
            LT_CHECK_OK(lt_input_list_add(&inputs, path, false));
        }
        LT_CHECK_OK(run(&whole, &options, separator, separator_size, 1 << 20, &counts));
        LT_CHECK_OK(run(&cut, &options, separator, separator_size, 16 + seed * 3, &counts_cut));
        LT_CHECK_INT(cut.text.size, whole.text.size);
        LT_CHECK(memcmp(cut.text.data, whole.text.data, whole.text.size) == 0);
        LT_CHECK_INT(cut.ids.size, whole.ids.size);
        LT_CHECK(memcmp(cut.ids.data, whole.ids.data, whole.ids.size * sizeof(uint32_t)) == 0);
        LT_CHECK_INT(cut.n_starts, cut.n_ends);
        LT_CHECK_INT(counts_cut.documents, counts.documents);
        LT_CHECK_INT(counts_cut.replaced, counts.replaced);
        max_chunks = cut.n_chunks > max_chunks ? cut.n_chunks : max_chunks;
        lt_input_list_release(&inputs);
    }
    LT_CHECK(max_chunks > 20);
    lt_encoder_free(whole.encoder);
    lt_encoder_free(cut.encoder);
    clear(&whole);
    clear(&cut);
    lt_buf_release(&whole.text);
    lt_buf_release(&cut.text);
    lt_buf_release(&file);
    lt_tokenizer_free(t);
}

LT_TEST(chunker_splits_documents_at_separators_left_to_right)
{
    static const struct {
        const char *text, *separator, *documents;
    } cases[] = {
        { "a|b|c", "|",
          "a\x01"
          "b\x01"
          "c\x01" },
        { "||a||b|", "|",
          "a\x01"
          "b\x01" },
        { "xaaay", "aa",
          "x\x01"
          "ay\x01" },
        { "a", "|", "a\x01" },
        { "|", "|", "" },
        { "", "|", "" },
    };
    collector c = { 0 };
    lt_text_counts counts;

    for (size_t i = 0; i < LT_COUNT(cases); i++)
        for (size_t target = 1; target < 9; target++) {
            lt_input_list inputs;
            lt_text_options options = { .inputs = &inputs, .field = "text" };

            lt_input_list_init(&inputs);
            LT_CHECK_OK(
                lt_file_write_atomic(lt_test_tmp("s.txt"), cases[i].text, strlen(cases[i].text)));
            LT_CHECK_OK(lt_input_list_add(&inputs, lt_test_tmp("s.txt"), false));
            LT_CHECK_OK(
                run(&c, &options, cases[i].separator, strlen(cases[i].separator), target, &counts));
            LT_CHECK_STR(lt_buf_cstr(&c.text), cases[i].documents);
            lt_input_list_release(&inputs);
        }
    clear(&c);
    lt_buf_release(&c.text);
}

LT_TEST(chunker_numbers_bad_lines)
{
    static const char lines[] = "{\"text\": \"one\"}\n\nnot json\n{\"text\": 2}\n{\"text\": \"\"}\n"
                                "{\"text\": \"bad \xff\"}\n{\"text\": \"last\"}";
    collector c = { 0 };
    lt_text_counts counts;
    lt_input_list inputs;
    lt_text_options options = { .inputs = &inputs, .field = "text" };

    lt_input_list_init(&inputs);
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("l.jsonl"), lines, sizeof lines - 1));
    LT_CHECK_OK(lt_input_list_add(&inputs, lt_test_tmp("l.jsonl"), false));
    LT_CHECK(inputs.items[0].is_jsonl);
    for (size_t target = 1; target < 100; target += 7) {
        LT_CHECK_OK(run(&c, &options, NULL, 0, target, &counts));
        LT_CHECK_STR(lt_buf_cstr(&c.text), "one\x01\x01"
                                           "bad \xef\xbf\xbd\x01last\x01");
        LT_CHECK_INT(counts.documents, 4);
        LT_CHECK_INT(counts.replaced, 1);
        LT_CHECK_INT(counts.bad_lines, 2);
        LT_CHECK_INT(counts.bad[0].line, 3);
        LT_CHECK_INT(counts.bad[1].line, 4);
        LT_CHECK_STR(counts.bad[1].why, "the field is not a string");
    }
    options.refuse_bad_lines = true;
    LT_CHECK_FAILS(run(&c, &options, NULL, 0, 10, &counts), LT_EFORMAT, "l.jsonl:3: no text");
    options.refuse_bad_lines = false;
    options.refuse_invalid = true;
    LT_CHECK_FAILS(run(&c, &options, NULL, 0, 10, &counts), LT_EFORMAT,
                   "l.jsonl:6: byte 4 of the text (0xff)");
    lt_input_list_release(&inputs);
    clear(&c);
    lt_buf_release(&c.text);
}

LT_TEST(chunker_skips_endless_lines)
{
    size_t n = (size_t)LT_JSONL_LINE_MAX + 10;
    char *line = lt_new0(n);
    lt_buf file = { 0 };
    collector c = { 0 };
    lt_text_counts counts;
    lt_input_list inputs;
    lt_text_options options = { .inputs = &inputs, .field = "text" };

    memset(line, 'x', n);
    lt_buf_printf(&file, "{\"text\": \"a\"}\n");
    lt_buf_append(&file, line, n);
    lt_buf_printf(&file, "\n{\"text\": \"b\"}\nbad\n");
    lt_input_list_init(&inputs);
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("long.jsonl"), file.data, file.size));
    LT_CHECK_OK(lt_input_list_add(&inputs, lt_test_tmp("long.jsonl"), false));
    LT_CHECK_OK(run(&c, &options, NULL, 0, 1 << 16, &counts));
    LT_CHECK_STR(lt_buf_cstr(&c.text), "a\x01"
                                       "b\x01");
    LT_CHECK_INT(counts.bad_lines, 2);
    LT_CHECK_INT(counts.bad[0].line, 2);
    LT_CHECK_INT(counts.bad[1].line, 4);
    lt_input_list_release(&inputs);
    clear(&c);
    lt_buf_release(&c.text);
    lt_buf_release(&file);
    free(line);
}

LT_TEST(input_list_takes_folders_apart_in_byte_order)
{
    static const char *const names[] = { "b.txt", "a/z.jsonl.gz", "a/B.ndjson", ".hidden", "a/.x" };
    char *folder = lt_strdup(lt_test_tmp("folder")), *inner = lt_path_join(folder, "a");
    lt_input_list list;

    LT_CHECK_OK(lt_mkdirs(inner));
    for (size_t i = 0; i < LT_COUNT(names); i++) {
        char *path = lt_path_join(folder, names[i]);

        LT_CHECK_OK(lt_file_write_atomic(path, "x", 1));
        free(path);
    }
    lt_input_list_init(&list);
    LT_CHECK_OK(lt_input_list_add(&list, folder, false));
    LT_CHECK_INT(list.n, 3);
    LT_CHECK_STR(lt_path_base(list.items[0].path), "B.ndjson");
    LT_CHECK_STR(lt_path_base(list.items[1].path), "z.jsonl.gz");
    LT_CHECK_STR(lt_path_base(list.items[2].path), "b.txt");
    LT_CHECK(list.items[0].is_jsonl && list.items[1].is_jsonl && !list.items[2].is_jsonl);
    LT_CHECK_INT(list.bytes, 3);
    LT_CHECK(list.bytes_known);
    LT_CHECK_OK(lt_input_list_add(&list, "-", false));
    LT_CHECK(!list.bytes_known);
    LT_CHECK_FAILS(lt_input_list_add(&list, "/nonexistent/x", false), LT_ENOENT, "/nonexistent/x");
    lt_input_list_release(&list);
    free(folder);
    free(inner);
}
