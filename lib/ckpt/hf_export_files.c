/* ckpt/hf_export_files.c - configuration and tokenizer files beside the exported weights.
 *
 * The tokenizer itself is copied byte for byte.  transformers also wants to be told which class
 * reads it and which tokens begin and end a text; when the checkpoint does not say, both follow
 * from config.json and the added tokens. */
#include "ckpt/hf_export_files.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "ckpt/json_scan.h"

#include <stdlib.h>
#include <string.h>

/* config.json becomes a tree of nodes, which takes many times its bytes. */
enum { MAX_TOKEN_BYTES = 512, MAX_CONFIG_BYTES = 256 << 10 };

static lt_err put_file(const char *folder, const char *name, const void *data, size_t n)
{
    char *path = lt_path_join(folder, name);
    lt_err err = lt_file_write_atomic(path, data, n);

    free(path);
    return err;
}

static lt_err put_json(const char *folder, const char *name, const json_t *doc)
{
    /* 15 digits: decimals such as 1e-05 come out as they went in. */
    char *text = json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    lt_buf b = { 0 };
    lt_err err;

    LT_BUG_ON(!text);
    lt_buf_printf(&b, "%s\n", text);
    err = put_file(folder, name, b.data, b.size);
    lt_buf_release(&b);
    free(text);
    return err;
}

static const char *torch_name(lt_dtype dtype)
{
    return dtype == LT_BF16 ? "bfloat16" : dtype == LT_F16 ? "float16" : "float32";
}

/* config.json with the dtype of the export; *out is the document. */
static lt_err put_config(lt_ckpt *c, const char *folder, lt_dtype dtype, json_t **out)
{
    const char *key = "torch_dtype";
    json_t *doc = NULL;
    lt_buf text = { 0 };
    lt_err err;

    LT_TRY(err = lt_ckpt_blob_read(c, "config.json", &text));
    if (text.size > MAX_CONFIG_BYTES) {
        err = lt_fail(LT_EFORMAT, "%s/config.json: %zu bytes, expected at most %d", lt_ckpt_path(c),
                      text.size, MAX_CONFIG_BYTES);
        goto fail;
    }
    LT_TRY(err = lt_json_parse(&doc, text.data, text.size, "config.json"));
    if (!json_is_object(doc)) {
        err = lt_fail(LT_EFORMAT, "%s/config.json: expected an object", lt_ckpt_path(c));
        goto fail;
    }
    if (json_object_get(doc, "dtype")) /* how newer versions of transformers call it */
        key = "dtype";
    LT_BUG_ON(json_object_set_new(doc, key, json_string(torch_name(dtype))) != 0);
    LT_TRY(err = put_json(folder, "config.json", doc));
    *out = doc;
    doc = NULL;
fail:
    json_decref(doc);
    lt_buf_release(&text);
    return err;
}

/* {"id": N, "content": TEXT, ...}; *found when N is the wanted one. */
static lt_err scan_added(lt_json_scan *s, int64_t id, char *out, size_t capacity, bool *found)
{
    static const char *const keys[] = { "id", "content" };
    char content[MAX_TOKEN_BYTES] = "";
    lt_json_scan_in in;
    uint64_t this_id = 0;
    uint32_t seen = 0;
    bool more;
    int key;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            break;
        LT_TRY(err = lt_json_scan_known_key(s, keys, 2, &seen, &key));
        if (key == 0)
            LT_TRY(err = lt_json_scan_u64(s, &this_id));
        else if (key == 1)
            LT_TRY(err = lt_json_scan_string(s, content, sizeof content));
        else
            LT_TRY(err = lt_json_scan_skip(s));
    }
    *found = seen == 3 && this_id == (uint64_t)id && strlen(content) < capacity;
    if (*found)
        memcpy(out, content, strlen(content) + 1);
fail:
    return err;
}

lt_err lt_hf_added_token(const char *text, size_t n, const char *name, int64_t id, char *out,
                         size_t capacity)
{
    static const char *const keys[] = { "added_tokens" };
    lt_json_scan s = { .text = text, .size = n, .name = name };
    lt_json_scan_in top, list;
    uint32_t seen = 0;
    bool more, found;
    int key;
    lt_err err;

    LT_BUG_ON(capacity == 0);
    out[0] = '\0';
    LT_TRY(err = lt_json_scan_open(&s, '{', &top));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(&s, &top, &more));
        if (!more)
            return LT_OK;
        LT_TRY(err = lt_json_scan_known_key(&s, keys, 1, &seen, &key));
        if (key != 0) {
            LT_TRY(err = lt_json_scan_skip(&s));
            continue;
        }
        LT_TRY(err = lt_json_scan_open(&s, '[', &list));
        for (;;) {
            LT_TRY(err = lt_json_scan_next(&s, &list, &more));
            if (!more)
                break;
            LT_TRY(err = scan_added(&s, id, out, capacity, &found));
            if (found)
                return LT_OK;
        }
    }
fail:
    return err;
}

/* doc[key] = the text of the token whose id is config[id_key], if there are both. */
static lt_err set_token(json_t *doc, const char *key, const json_t *config, const char *id_key,
                        const lt_buf *tokenizer)
{
    int64_t id = -1;
    char token[MAX_TOKEN_BYTES];
    lt_err err;

    if (!json_is_integer(json_object_get(config, id_key))) /* absent, null or a list */
        return LT_OK;
    LT_TRY(err = lt_json_opt_int(config, id_key, -1, INT32_MAX, &id, "config.json"));
    if (id < 0)
        return LT_OK;
    LT_TRY(err = lt_hf_added_token(tokenizer->data, tokenizer->size, "tokenizer.json", id, token,
                                   sizeof token));
    if (token[0])
        LT_BUG_ON(json_object_set_new(doc, key, json_string(token)) != 0);
fail:
    return err;
}

static lt_err put_tokenizer_config(const char *folder, const json_t *config,
                                   const lt_buf *tokenizer)
{
    json_t *doc = json_object(), *length = json_object_get(config, "n_positions");
    lt_err err;

    LT_BUG_ON(json_object_set_new(doc, "tokenizer_class", json_string("PreTrainedTokenizerFast")));
    LT_BUG_ON(json_object_set_new(doc, "clean_up_tokenization_spaces", json_false()));
    if (json_is_integer(length))
        LT_BUG_ON(json_object_set(doc, "model_max_length", length));
    LT_TRY(err = set_token(doc, "bos_token", config, "bos_token_id", tokenizer));
    LT_TRY(err = set_token(doc, "eos_token", config, "eos_token_id", tokenizer));
    LT_TRY(err = put_json(folder, "tokenizer_config.json", doc));
fail:
    json_decref(doc);
    return err;
}

/* Copies a file of the checkpoint; *text keeps it. */
static lt_err copy_blob(lt_ckpt *c, const char *folder, const char *name, lt_buf *text)
{
    lt_err err;

    LT_TRY(err = lt_ckpt_blob_read(c, name, text));
    LT_TRY(err = put_file(folder, name, text->data, text->size));
fail:
    return err;
}

lt_err lt_hf_export_files(lt_ckpt *c, const char *folder, lt_dtype dtype)
{
    json_t *config = NULL;
    lt_buf text = { 0 };
    lt_err err;

    LT_TRY(err = put_config(c, folder, dtype, &config));
    if (lt_ckpt_has_blob(c, "generation_config.json"))
        LT_TRY(err = copy_blob(c, folder, "generation_config.json", &text));
    if (!lt_ckpt_has_blob(c, "tokenizer.json")) {
        lt_log_warn("%s holds no tokenizer.json: the exported folder will have no tokenizer",
                    lt_ckpt_path(c));
        goto fail;
    }
    LT_TRY(err = copy_blob(c, folder, "tokenizer.json", &text));
    if (lt_ckpt_has_blob(c, "tokenizer_config.json"))
        LT_TRY(err = copy_blob(c, folder, "tokenizer_config.json", &text));
    else
        LT_TRY(err = put_tokenizer_config(folder, config, &text));
fail:
    json_decref(config);
    lt_buf_release(&text);
    return err;
}
