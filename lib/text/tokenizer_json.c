/* tokenizer_json.c - reads Hugging Face's tokenizer.json: byte-level BPE with GPT-2's pattern.
 *
 * Every member is either understood, known not to change the ids of plain text, or refused by name:
 * a tokenizer is never read as something nearly like it. */
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/pretoken.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define READS "lt reads byte-level BPE with the GPT-2 pattern"

static lt_err refuse(const char *name, const char *what, const char *which)
{
    return lt_fail(LT_ENOTSUP, "%s: %s %s is not supported: " READS, name, what, which);
}

/* The "type" of a stage; "" for none (absent or null), NULL for what is no stage. */
static const char *type_of(const json_t *stage)
{
    if (!stage || json_is_null(stage))
        return "";
    return json_string_value(json_object_get(stage, "type"));
}

/* Members of `object` beyond those in the NULL-terminated list are refused. */
static lt_err only_members(const json_t *object, const char *const *known, const char *where,
                           const char *name)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        const char *const *k = known;

        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k)
            return refuse(name, where, key);
    }
    return LT_OK;
}

/* ByteLevel that neither adds a space nor leaves use_regex other than wanted. */
static lt_err check_byte_level(const json_t *stage, bool want_regex, const char *name)
{
    static const char *const known[] = { "type", "add_prefix_space", "trim_offsets", "use_regex",
                                         NULL };
    bool prefix = true, regex = true;
    lt_err err;

    LT_TRY(err = only_members(stage, known, "pre_tokenizer ByteLevel", name));
    LT_TRY(err = lt_json_opt_bool(stage, "add_prefix_space", &prefix, name));
    LT_TRY(err = lt_json_opt_bool(stage, "use_regex", &regex, name));
    if (prefix)
        return refuse(name, "pre_tokenizer ByteLevel", "add_prefix_space=true");
    if (regex != want_regex)
        return refuse(name, "pre_tokenizer ByteLevel",
                      regex ? "use_regex=true behind another Split"
                            : "use_regex=false without a Split in front");
fail:
    return err;
}

static lt_err check_split(const json_t *stage, const char *name)
{
    const char *regex =
        json_string_value(json_object_get(json_object_get(stage, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(stage, "behavior"));

    if (!regex || strcmp(regex, LT_GPT2_PATTERN) != 0)
        return refuse(name, "pre_tokenizer Split by the pattern", regex ? regex : "(no Regex)");
    if (!behavior || strcasecmp(behavior, "Isolated") != 0 ||
        json_is_true(json_object_get(stage, "invert")))
        return refuse(name, "pre_tokenizer Split", "with a behavior other than Isolated");
    return LT_OK;
}

/* ByteLevel, a Sequence of it alone, or a Sequence of Split and ByteLevel without its own regex. */
static lt_err check_pre_tokenizer(const json_t *stage, const char *name)
{
    const char *type = type_of(stage);
    const json_t *list;
    size_t n;
    lt_err err;

    if (!type || strcmp(type, "Sequence") != 0) {
        if (!type || strcmp(type, "ByteLevel") != 0)
            return refuse(name, "pre_tokenizer", !type ? "(no type)" : *type ? type : "null");
        return check_byte_level(stage, true, name);
    }
    list = json_object_get(stage, "pretokenizers");
    n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        type = type_of(json_array_get(list, i));
        if (!type || strcmp(type, i + 1 < n ? "Split" : "ByteLevel") != 0)
            return refuse(name, "pre_tokenizer Sequence with", type && *type ? type : "null");
    }
    if (n < 1 || n > 2)
        return refuse(name, "pre_tokenizer", "Sequence of other than one or two stages");
    if (n == 2)
        LT_TRY(err = check_split(json_array_get(list, 0), name));
    err = check_byte_level(json_array_get(list, n - 1), n == 1, name);
fail:
    return err;
}

static lt_err check_normalizer(const json_t *stage, const char *name)
{
    const char *type = type_of(stage);

    if (type && *type == '\0')
        return LT_OK;
    if (type && strcmp(type, "Sequence") == 0 &&
        json_array_size(json_object_get(stage, "normalizers")) == 0)
        return LT_OK;
    return refuse(name, "normalizer", type ? type : "(no type)");
}

/* The token that TemplateProcessing or RobertaProcessing puts in front of a single text. */
static lt_err read_post_processor(const json_t *stage, uint32_t *bos_id, const lt_vocab *v,
                                  const char *name)
{
    const char *type = type_of(stage), *token = NULL;
    const json_t *list = json_object_get(stage, "processors");
    lt_err err;

    if (!type)
        return refuse(name, "post_processor", "(no type)");
    if (*type == '\0' || strcmp(type, "ByteLevel") == 0)
        return LT_OK;
    if (strcmp(type, "Sequence") == 0) {
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (!type_of(json_array_get(list, i)) ||
                strcmp(type_of(json_array_get(list, i)), "Sequence") == 0)
                return refuse(name, "post_processor", "Sequence in a Sequence");
            LT_TRY(err = read_post_processor(json_array_get(list, i), bos_id, v, name));
        }
        return LT_OK;
    }
    if (strcmp(type, "RobertaProcessing") == 0)
        token = json_string_value(json_array_get(json_object_get(stage, "cls"), 0));
    else if (strcmp(type, "TemplateProcessing") == 0)
        token = json_string_value(json_object_get(
            json_object_get(json_array_get(json_object_get(stage, "single"), 0), "SpecialToken"),
            "id"));
    else
        return refuse(name, "post_processor", type);
    if (token) {
        *bos_id = lt_vocab_find(v, token, strlen(token));
        if (*bos_id == LT_NO_ID || v->tokens[*bos_id].kind != LT_TOKEN_SPECIAL)
            return lt_fail(LT_EFORMAT, "%s: post_processor %s: \"%s\" is no special token", name,
                           type, token);
    }
    return LT_OK;
fail:
    return err;
}

static bool is_unset(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_number(v) && json_number_value(v) == 0);
}

/* The options of the model that would change ids must be off. */
static lt_err check_model(const json_t *model, const char *name)
{
    static const char *const known[] = { "type",
                                         "dropout",
                                         "unk_token",
                                         "continuing_subword_prefix",
                                         "end_of_word_suffix",
                                         "fuse_unk",
                                         "byte_fallback",
                                         "ignore_merges",
                                         "vocab",
                                         "merges",
                                         NULL };
    static const char *const off[] = { "dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                       "byte_fallback", "ignore_merges" };
    const char *type = json_string_value(json_object_get(model, "type"));
    lt_err err;

    if (!json_is_object(model))
        return lt_fail(LT_EFORMAT, "%s: model: expected an object", name);
    if (type && strcmp(type, "BPE") != 0)
        return refuse(name, "model", type);
    LT_TRY(err = only_members(model, known, "model member", name));
    for (size_t i = 0; i < LT_COUNT(off); i++)
        if (!is_unset(json_object_get(model, off[i])))
            return refuse(name, "model with", off[i]);
    if (!json_is_object(json_object_get(model, "vocab")))
        return lt_fail(LT_EFORMAT, "%s: model.vocab: expected an object", name);
    if (!json_is_array(json_object_get(model, "merges")))
        return lt_fail(LT_EFORMAT, "%s: model.merges: expected an array", name);
fail:
    return err;
}

/* added_tokens: only special ones, since text never becomes one of them in lt. */
static lt_err read_added_tokens(lt_tokenizer *t, const json_t *added, const char *name)
{
    lt_err err = LT_OK;

    if (added && !json_is_null(added) && !json_is_array(added))
        return lt_fail(LT_EFORMAT, "%s: added_tokens: expected an array", name);
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const char *content;
        int64_t id;
        bool special = false;

        LT_TRY(err = lt_json_string(token, "content", &content, name));
        LT_TRY(err = lt_json_int(token, "id", 0, LT_TOKEN_ID_LIMIT - 1, &id, name));
        LT_TRY(err = lt_json_opt_bool(token, "special", &special, name));
        if (!special)
            return lt_fail(LT_ENOTSUP,
                           "%s: added token \"%s\" is not special: lt knows special added tokens "
                           "only and would spell this one out",
                           name, content);
        LT_TRY(err = lt_vocab_add(&t->vocab, id, content, strlen(content), LT_TOKEN_SPECIAL));
    }
    return LT_OK;
fail:
    return lt_fail_in("%s: added_tokens", name);
}

/* The added token with this spelling and id, which vocab then only repeats. */
static bool is_added(const lt_vocab *v, int64_t id, const char *spelling)
{
    return lt_vocab_find(v, spelling, strlen(spelling)) == (uint64_t)id;
}

static lt_err read_vocab(lt_tokenizer *t, const json_t *vocab, const char *name)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)vocab, key, value)
    {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;

        if (is_added(&t->vocab, id, key))
            continue;
        if (lt_vocab_add_spelled(&t->vocab, id, key, strlen(key)) != LT_OK)
            return lt_fail_in("%s: model.vocab \"%s\"", name, key);
    }
    return LT_OK;
}

/* One part of a merge; as in vocab, what is not in the alphabet stands for itself. */
static void read_part(lt_buf *out, const char *s, size_t n)
{
    lt_buf_clear(out);
    if (!lt_alphabet_read(out, s, n))
        lt_buf_append(out, s, n);
}

/* Merges are "left right" or ["left", "right"]. */
static lt_err read_merges(lt_merge_list *list, const lt_vocab *v, const json_t *merges,
                          const char *name)
{
    lt_buf left = { 0 }, right = { 0 };
    lt_err err = LT_OK;

    for (size_t i = 0; i < json_array_size(merges) && err == LT_OK; i++) {
        const json_t *m = json_array_get(merges, i);
        const char *whole = json_string_value(m), *gap = whole ? strchr(whole, ' ') : NULL;
        const char *a = whole, *b = gap ? gap + 1 : NULL;
        size_t a_size = gap ? (size_t)(gap - whole) : 0;

        if (json_array_size(m) == 2) {
            a = json_string_value(json_array_get(m, 0));
            b = json_string_value(json_array_get(m, 1));
            a_size = a ? strlen(a) : 0;
        }
        if (!a || !b || a_size == 0 || !*b) {
            err = lt_fail(LT_EFORMAT, "%s: model.merges[%zu]: expected two tokens", name, i);
            break;
        }
        read_part(&left, a, a_size);
        read_part(&right, b, strlen(b));
        err = lt_merge_list_add(list, v, &left, &right);
        if (err != LT_OK)
            lt_fail_in("%s: model.merges[%zu] \"%.*s %s\"", name, i, (int)(a_size & 0xffff), a, b);
    }
    lt_buf_release(&left);
    lt_buf_release(&right);
    return err;
}

static lt_err check_stages(const json_t *root, const char *name)
{
    static const char *const known[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL
    };
    const char *decoder = type_of(json_object_get(root, "decoder"));
    lt_err err;

    if (!json_is_object(root))
        return lt_fail(LT_EFORMAT, "%s: expected a JSON object", name);
    LT_TRY(err = only_members(root, known, "member", name));
    LT_TRY(err = check_model(json_object_get(root, "model"), name));
    LT_TRY(err = check_normalizer(json_object_get(root, "normalizer"), name));
    LT_TRY(err = check_pre_tokenizer(json_object_get(root, "pre_tokenizer"), name));
    if (!decoder || (*decoder && strcmp(decoder, "ByteLevel") != 0))
        return refuse(name, "decoder", decoder ? decoder : "(no type)");
fail:
    return err;
}

lt_err lt_tokenizer_parse(lt_tokenizer **out, const char *text, size_t n, const char *name)
{
    lt_tokenizer *t = lt_new0(sizeof *t);
    lt_merge_list list = { 0 };
    json_t *root = NULL;
    const json_t *model;
    lt_err err;

    t->bos_id = LT_NO_ID;
    LT_TRY(err = lt_json_parse(&root, text, n, name));
    LT_TRY(err = check_stages(root, name));
    model = json_object_get(root, "model");
    LT_TRY(err = read_added_tokens(t, json_object_get(root, "added_tokens"), name));
    LT_TRY(err = read_vocab(t, json_object_get(model, "vocab"), name));
    LT_TRY(err = read_merges(&list, &t->vocab, json_object_get(model, "merges"), name));
    LT_TRY(err = read_post_processor(json_object_get(root, "post_processor"), &t->bos_id, &t->vocab,
                                     name));
    err = lt_tokenizer_seal(t, &list);
    if (err != LT_OK) {
        lt_fail_in("%s: model.vocab", name);
        goto fail;
    }
    lt_buf_append(&t->source, text, n);
    *out = t;
    t = NULL;
fail:
    json_decref(root);
    free(list.merges);
    lt_tokenizer_free(t);
    return err;
}
