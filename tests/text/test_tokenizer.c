/* test_tokenizer.c - encoding against tiktoken's answers, and the forms a tokenizer comes in. */
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "lt_test.h"
#include "text/byte_alphabet.h"
#include "text/decoder.h"
#include "text/encoder.h"
#include "text/pretoken.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <zstd.h>

static lt_err read_zst(lt_buf *out, const char *path)
{
    lt_buf packed = { 0 };
    lt_err err = lt_file_read_all(&packed, path, 1 << 24);
    unsigned long long size;

    if (err == LT_OK) {
        size = ZSTD_getFrameContentSize(packed.data, packed.size);
        if (size > 1 << 24)
            size = 1 << 24;
        lt_buf_reserve(out, size);
        out->size = ZSTD_decompress(out->data, size, packed.data, packed.size);
        if (ZSTD_isError(out->size))
            err = lt_fail(LT_EFORMAT, "%s: zstd", path);
    }
    lt_buf_release(&packed);
    return err;
}

LT_TEST(gpt2_equals_tiktoken_on_3000_texts)
{
    lt_tokenizer *t;
    lt_encoder *e;
    lt_ids ids = { 0 };
    lt_buf text = { 0 }, back = { 0 };
    lt_decoder decoder;
    int n_lines = 0, n_wrong = 0, n_bad_decode = 0;

    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    LT_CHECK_OK(read_zst(&text, lt_test_data("text/gpt2_golden.jsonl.zst")));
    e = lt_encoder_new(t);
    lt_decoder_init(&decoder, t);
    for (char *line = text.data, *end = text.data + text.size; line < end; n_lines++) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        json_t *row = NULL, *want, *string;
        bool same;

        LT_CHECK_OK(lt_json_parse(&row, line, (size_t)(stop - line), "golden"));
        want = json_object_get(row, "ids");
        string = json_object_get(row, "text");
        ids.size = 0;
        lt_encode(e, json_string_value(string), json_string_length(string), &ids);
        same = ids.size == json_array_size(want);
        for (size_t i = 0; same && i < ids.size; i++)
            same = ids.data[i] == (uint64_t)json_integer_value(json_array_get(want, i));
        n_wrong += !same;
        lt_buf_clear(&back);
        for (size_t i = 0; i < ids.size; i++)
            LT_CHECK_OK(lt_decoder_push(&decoder, ids.data[i], &back));
        lt_decoder_finish(&decoder, &back);
        n_bad_decode += back.size != json_string_length(string) ||
                        memcmp(lt_buf_cstr(&back), json_string_value(string), back.size) != 0;
        json_decref(row);
        line = stop + 1;
    }
    LT_CHECK_INT(n_lines, 3000);
    LT_CHECK_INT(n_wrong, 0);
    LT_CHECK_INT(n_bad_decode, 0);
    lt_ids_release(&ids);
    lt_buf_release(&text);
    lt_buf_release(&back);
    lt_encoder_free(e);
    lt_tokenizer_free(t);
}

static void write_file(const char *folder, const char *name, const lt_buf *b)
{
    char *path = lt_path_join(folder, name);

    LT_CHECK_OK(lt_mkdirs(folder));
    LT_CHECK_OK(lt_file_write_atomic(path, b->data, b->size));
    free(path);
}

/* vocab.json and merges.txt from a tokenizer.json. */
static void split_json(const lt_buf *json, const char *folder)
{
    json_t *root = NULL, *model;
    lt_buf merges = { 0 }, vocab = { 0 };
    char *text;

    LT_CHECK_OK(lt_json_parse(&root, json->data, json->size, "written"));
    model = json_object_get(root, "model");
    lt_buf_printf(&merges, "#version: 0.2\n");
    for (size_t i = 0; i < json_array_size(json_object_get(model, "merges")); i++) {
        json_t *m = json_array_get(json_object_get(model, "merges"), i);

        lt_buf_printf(&merges, "%s %s\n", json_string_value(json_array_get(m, 0)),
                      json_string_value(json_array_get(m, 1)));
    }
    text = json_dumps(json_object_get(model, "vocab"), 0);
    lt_buf_append(&vocab, text, strlen(text));
    write_file(folder, "merges.txt", &merges);
    write_file(folder, "vocab.json", &vocab);
    free(text);
    json_decref(root);
    lt_buf_release(&merges);
    lt_buf_release(&vocab);
}

static bool is_special(const lt_tokenizer *t, uint32_t id)
{
    return t->vocab.tokens[id].kind == LT_TOKEN_SPECIAL;
}

LT_TEST(tokenizer_hash_of_gpt2_stays)
{
    lt_tokenizer *t;
    char hex[LT_SHA256_HEX];

    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    lt_sha256_hex(lt_tokenizer_hash(t), hex);
    LT_CHECK_STR(hex, "9276098c0f8916752d9417bd5ef9a8a43771e9e23de2df26c0536ccf5b52f92d");
    LT_CHECK_INT(lt_tokenizer_vocab_size(t), 50257);
    LT_CHECK_INT(lt_tokenizer_eot_id(t), 50256);
    LT_CHECK_INT(lt_tokenizer_bos_id(t), UINT32_MAX);
    LT_CHECK(is_special(t, 50256) && !is_special(t, 0));
    lt_tokenizer_free(t);
}

LT_TEST(tokenizer_forms_are_equal)
{
    lt_tokenizer *builtin, *parsed, *folder;
    lt_buf json = { 0 }, again = { 0 };
    char *path = lt_strdup(lt_test_tmp("pair"));

    LT_CHECK_OK(lt_tokenizer_open(&builtin, "gpt2"));
    lt_tokenizer_to_json(builtin, &json);
    LT_CHECK_OK(lt_tokenizer_parse(&parsed, json.data, json.size, "written"));
    split_json(&json, path);
    LT_CHECK_OK(lt_tokenizer_open(&folder, path));
    LT_CHECK(memcmp(lt_tokenizer_hash(builtin), lt_tokenizer_hash(parsed), 32) == 0);
    LT_CHECK(memcmp(lt_tokenizer_hash(builtin), lt_tokenizer_hash(folder), 32) == 0);
    lt_tokenizer_to_json(parsed, &again); /* a parsed file is handed on as it was */
    LT_CHECK_STR(lt_buf_cstr(&again), lt_buf_cstr(&json));
    lt_tokenizer_free(folder);

    write_file(path, "tokenizer.json", &json); /* wins over the pair */
    LT_CHECK_OK(lt_tokenizer_open(&folder, path));
    LT_CHECK(memcmp(lt_tokenizer_hash(builtin), lt_tokenizer_hash(folder), 32) == 0);
    lt_tokenizer_free(builtin);
    lt_tokenizer_free(parsed);
    lt_tokenizer_free(folder);
    lt_buf_release(&json);
    lt_buf_release(&again);
    free(path);
}

/* A tokenizer.json of 256 bytes, one merge and <|endoftext|>, written from the built-in one. */
static json_t *small_root(void)
{
    lt_tokenizer *gpt2 = NULL;
    lt_buf json = { 0 };
    json_t *root = NULL, *model, *vocab = json_object(), *id;
    const char *key;

    if (lt_tokenizer_open(&gpt2, "gpt2") == LT_OK)
        lt_tokenizer_to_json(gpt2, &json);
    if (lt_json_parse(&root, lt_buf_cstr(&json), json.size, "gpt2") == LT_OK) {
        model = json_object_get(root, "model");
        json_object_foreach(json_object_get(model, "vocab"), key, id)
        {
            if (json_integer_value(id) < 257 || json_integer_value(id) == 50256)
                json_object_set(vocab, key, id);
        }
        json_object_set(model, "vocab", vocab);
        json_object_set_new(model, "merges", json_pack("[[s, s]]", "\xc4\xa0", "t"));
    }
    json_decref(vocab);
    lt_buf_release(&json);
    lt_tokenizer_free(gpt2);
    return root;
}

/* The same with one member set to a JSON text. */
static void small_json(lt_buf *out, json_t *small, const char *member, const char *value)
{
    static const char *const of_root[] = { "added_tokens",   "normalizer", "pre_tokenizer",
                                           "post_processor", "decoder",    "surprise" };
    json_t *root = json_deep_copy(small), *owner = json_object_get(root, "model");
    char *text;

    for (size_t i = 0; member && i < LT_COUNT(of_root); i++)
        if (strcmp(of_root[i], member) == 0)
            owner = root;
    if (member)
        json_object_set_new(owner, member, json_loads(value, JSON_DECODE_ANY, NULL));
    text = json_dumps(root, 0);
    lt_buf_clear(out);
    lt_buf_append(out, text, strlen(text));
    free(text);
    json_decref(root);
}

#define BYTE_LEVEL(regex)                                                                          \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "              \
    "\"use_regex\": " regex "}"
#define SPLIT                                                                                      \
    "{\"type\": \"Split\", \"behavior\": \"Isolated\", \"invert\": false, "                        \
    "\"pattern\": {\"Regex\": "                                                                    \
    "\"'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+|"                                           \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+\"}}"

LT_TEST(tokenizer_json_accepts_what_it_understands)
{
    static const char *const cases[][2] = {
        { NULL, NULL },
        { "pre_tokenizer",
          "{\"type\": \"Sequence\", \"pretokenizers\": [" BYTE_LEVEL("true") "]}" },
        { "pre_tokenizer",
          "{\"type\": \"Sequence\", \"pretokenizers\": [" SPLIT ", " BYTE_LEVEL("false") "]}" },
        { "pre_tokenizer", "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}" },
        { "normalizer", "{\"type\": \"Sequence\", \"normalizers\": []}" },
        { "merges", "[\"\xc4\xa0 t\"]" },
        { "dropout", "0.0" },
        { "fuse_unk", "true" },
        { "unk_token", "\"<|endoftext|>\"" },
        { "decoder", "null" },
    };
    lt_buf json = { 0 };
    json_t *small = small_root();

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_tokenizer *t;
        size_t n;

        small_json(&json, small, cases[i][0], cases[i][1]);
        LT_CHECK_OK(lt_tokenizer_parse(&t, json.data, json.size, "t.json"));
        LT_CHECK_INT(lt_tokenizer_vocab_size(t), 50257);
        LT_CHECK(!lt_tokenizer_token(t, 300, &n) && n == 0); /* a hole */
        lt_tokenizer_free(t);
    }
    json_decref(small);
    lt_buf_release(&json);
}

LT_TEST(tokenizer_json_refuses_by_name)
{
    static const struct {
        const char *member, *value;
        lt_err code;
        const char *part;
    } cases[] = {
        { "pre_tokenizer", "{\"type\": \"Metaspace\"}", LT_ENOTSUP,
          "pre_tokenizer Metaspace is not" },
        { "pre_tokenizer", "null", LT_ENOTSUP, "pre_tokenizer null" },
        { "pre_tokenizer", "{\"type\": \"ByteLevel\"}", LT_ENOTSUP, "add_prefix_space=true" },
        { "pre_tokenizer", BYTE_LEVEL("false"), LT_ENOTSUP, "use_regex=false without" },
        { "pre_tokenizer",
          "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\"}, " BYTE_LEVEL(
              "true") "]}",
          LT_ENOTSUP, "Sequence with Digits" },
        { "pre_tokenizer",
          "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"behavior\": "
          "\"Isolated\", \"pattern\": {\"Regex\": \"\\\\s+\"}}, " BYTE_LEVEL("false") "]}",
          LT_ENOTSUP, "by the pattern \\s+" },
        { "normalizer", "{\"type\": \"NFC\"}", LT_ENOTSUP, "normalizer NFC" },
        { "post_processor", "{\"type\": \"BertProcessing\"}", LT_ENOTSUP, "BertProcessing" },
        { "decoder", "{\"type\": \"Metaspace\"}", LT_ENOTSUP, "decoder Metaspace" },
        { "type", "\"Unigram\"", LT_ENOTSUP, "model Unigram" },
        { "ignore_merges", "true", LT_ENOTSUP, "ignore_merges" },
        { "dropout", "0.1", LT_ENOTSUP, "dropout" },
        { "byte_fallback", "true", LT_ENOTSUP, "byte_fallback" },
        { "end_of_word_suffix", "\"</w>\"", LT_ENOTSUP, "end_of_word_suffix" },
        { "novelty", "1", LT_ENOTSUP, "model member novelty" },
        { "surprise", "1", LT_ENOTSUP, "member surprise" },
        { "added_tokens", "[{\"id\": 9, \"content\": \"<x>\", \"special\": false}]", LT_ENOTSUP,
          "\"<x>\" is not special" },
        { "added_tokens", "[{\"id\": 9, \"content\": \"<x>\", \"special\": true}]", LT_EFORMAT,
          "token id 9 is given twice" },
        { "added_tokens", "[{\"id\": 99999999, \"content\": \"<x>\", \"special\": true}]",
          LT_EFORMAT, "99999999" },
        { "added_tokens", "7", LT_EFORMAT, "added_tokens: expected an array" },
        { "merges", "[\"a\"]", LT_EFORMAT, "merges[0]: expected two tokens" },
        { "merges", "[[\"a\", \"zz\"]]", LT_EFORMAT, "right part is no token" },
        { "merges", "[[\"a\", \"b\"]]", LT_EFORMAT, "the two together are no token" },
        { "vocab", "{\"a\": 0}", LT_EFORMAT, "no token" },
        { "vocab", "{\"a\": -5}", LT_EFORMAT, "token id -5" },
        { "vocab", "[]", LT_EFORMAT, "model.vocab: expected an object" },
    };
    lt_buf json = { 0 };
    json_t *small = small_root();
    lt_tokenizer *t;

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        small_json(&json, small, cases[i].member, cases[i].value);
        LT_CHECK_FAILS(lt_tokenizer_parse(&t, json.data, json.size, "t.json"), cases[i].code,
                       cases[i].part);
        LT_CHECK(strncmp(lt_err_text(), "t.json", 6) == 0);
    }
    LT_CHECK_FAILS(lt_tokenizer_parse(&t, "{", 1, "t.json"), LT_EFORMAT, "t.json:1");
    LT_CHECK_FAILS(lt_tokenizer_parse(&t, "[]", 2, "t.json"), LT_EFORMAT, "expected a JSON object");
    LT_CHECK_FAILS(lt_tokenizer_open(&t, "gpt3"), LT_ENOENT, "the only built-in one is gpt2");
    LT_CHECK_FAILS(lt_tokenizer_open(&t, lt_test_data("text")), LT_ENOENT, "holds neither");
    json_decref(small);
    lt_buf_release(&json);
}

LT_TEST(tokenizer_json_template_names_the_first_token)
{
    lt_buf json = { 0 };
    json_t *small = small_root();
    lt_tokenizer *t;

    small_json(&json, small, "post_processor",
               "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
               "\"<|endoftext|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\"}}]}");
    LT_CHECK_OK(lt_tokenizer_parse(&t, json.data, json.size, "t.json"));
    LT_CHECK_INT(lt_tokenizer_bos_id(t), 50256);
    lt_tokenizer_free(t);
    json_decref(small);
    lt_buf_release(&json);
}

LT_TEST(tokenizer_folder_names_the_line)
{
    lt_buf vocab = { 0 }, merges = { 0 };
    char *folder = lt_strdup(lt_test_tmp("bad_pair"));
    lt_tokenizer *t;

    lt_buf_printf(&vocab, "{\"a\": 0, \"b\": 1, \"ab\": 2}");
    lt_buf_printf(&merges, "#version: 0.2\na b\nb a\n");
    write_file(folder, "vocab.json", &vocab);
    write_file(folder, "merges.txt", &merges);
    LT_CHECK_FAILS(lt_tokenizer_open(&t, folder), LT_EFORMAT, "merges.txt:3: the two together");
    lt_buf_clear(&merges);
    lt_buf_printf(&merges, "ab\n");
    write_file(folder, "merges.txt", &merges);
    LT_CHECK_FAILS(lt_tokenizer_open(&t, folder), LT_EFORMAT, "merges.txt:1: expected two tokens");
    lt_buf_clear(&merges);
    lt_buf_printf(&merges, "a b\n");
    write_file(folder, "merges.txt", &merges);
    LT_CHECK_FAILS(lt_tokenizer_open(&t, folder), LT_EFORMAT, "has no token");
    lt_buf_release(&vocab);
    lt_buf_release(&merges);
    free(folder);
}

LT_TEST(encoder_takes_long_words_and_any_bytes)
{
    enum { N = 1000000 };
    static const struct {
        char letter;
        uint32_t id;
        size_t n_ids;
    } cases[] = { { 'a', 24794, N / 4 }, { ' ', 220, N } };
    lt_tokenizer *t;
    lt_encoder *e;
    lt_ids ids = { 0 };
    char *text = lt_new0(N);

    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    e = lt_encoder_new(t);
    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        memset(text, cases[i].letter, N);
        ids.size = 0;
        lt_encode(e, text, N, &ids);
        LT_CHECK_INT(ids.size, cases[i].n_ids);
        LT_CHECK_INT(ids.data[0], cases[i].id);
        LT_CHECK_INT(ids.data[ids.size - 1], cases[i].id);
    }
    ids.size = 0;
    lt_encode(e, "\xff\xfe\x00<|endoftext|>", 16, &ids); /* bytes and spelled specials */
    LT_CHECK_INT(ids.size, 3 + 7);
    LT_CHECK_INT(ids.data[2], 188);
    ids.size = 0;
    lt_encode(e, "", 0, &ids);
    LT_CHECK_INT(ids.size, 0);
    lt_ids_release(&ids);
    lt_encoder_free(e);
    lt_tokenizer_free(t);
    free(text);
}

LT_TEST(encoder_counts_words_that_it_cuts)
{
    size_t n = (size_t)LT_PRETOKEN_MAX + 4;
    char *text = lt_new0(n);
    lt_tokenizer *t;
    lt_encoder *e;
    lt_ids ids = { 0 };

    memset(text, 'a', n);
    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    e = lt_encoder_new(t);
    lt_encode(e, text, 4000, &ids);
    LT_CHECK_INT(lt_encoder_n_cut(e), 0);
    lt_encode(e, text, n, &ids);
    LT_CHECK_INT(lt_encoder_n_cut(e), 1);
    LT_CHECK_INT(ids.size, 1000 + n / 4);
    lt_ids_release(&ids);
    lt_encoder_free(e);
    lt_tokenizer_free(t);
    free(text);
}

LT_TEST(tokenizer_folder_of_opt_kind_finds_its_specials)
{
    static const char *const first[] = { "<s>", "<pad>", "</s>", "<unk>" };
    lt_buf vocab = { 0 }, merges = { 0 }, spelling = { 0 };
    char *folder = lt_strdup(lt_test_tmp("opt_pair"));
    lt_tokenizer *t;
    lt_encoder *e;
    lt_ids ids = { 0 };

    lt_buf_printf(&vocab, "{\"\xc4\xa0t\": 260");
    for (int i = 0; i < 4; i++)
        lt_buf_printf(&vocab, ", \"%s\": %d", first[i], i);
    for (int b = 0; b < 256; b++) { /* ids in no order that the merges know */
        uint8_t byte = (uint8_t)b;

        lt_buf_clear(&spelling);
        lt_alphabet_spell(&spelling, &byte, 1);
        lt_buf_append(&vocab, ", ", 2);
        lt_json_quote(&vocab, spelling.data, spelling.size);
        lt_buf_printf(&vocab, ": %d", 259 - b);
    }
    lt_buf_printf(&vocab, "}");
    lt_buf_printf(&merges, "\xc4\xa0 t\r\n");
    write_file(folder, "vocab.json", &vocab);
    write_file(folder, "merges.txt", &merges);
    LT_CHECK_OK(lt_tokenizer_open(&t, folder));
    LT_CHECK_INT(lt_tokenizer_eot_id(t), 2);
    for (uint32_t id = 0; id < 261; id++)
        LT_CHECK_INT(is_special(t, id), id < 4);
    e = lt_encoder_new(t);
    lt_encode(e, " t</s>", 6, &ids);
    LT_CHECK_INT(ids.size, 5);
    LT_CHECK_INT(ids.data[0], 260);
    LT_CHECK_INT(ids.data[1], 259 - '<');
    lt_ids_release(&ids);
    lt_encoder_free(e);
    lt_tokenizer_free(t);
    lt_buf_release(&vocab);
    lt_buf_release(&merges);
    lt_buf_release(&spelling);
    free(folder);
}
