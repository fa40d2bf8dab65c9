/* tokenizer_folder.c - reads the older pair of files, vocab.json and merges.txt.
 *
 * The pair does not say which tokens are special.  A token that is neither a byte nor made by a
 * merge can never come from text, so it is taken to be one: <|endoftext|> of GPT-2, <s> </s> <pad>
 * of OPT. */
#include "base/file.h"
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 64 << 20 };

static lt_err read_vocab(lt_tokenizer *t, const char *path)
{
    json_t *root = NULL, *value;
    const char *key;
    lt_err err;

    LT_TRY(err = lt_json_load(&root, path, MAX_FILE_BYTES));
    if (!json_is_object(root))
        err = lt_fail(LT_EFORMAT, "%s: expected a JSON object of tokens", path);
    json_object_foreach(root, key, value)
    {
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;

        if (err == LT_OK && (err = lt_vocab_add_spelled(&t->vocab, id, key, strlen(key))) != LT_OK)
            lt_fail_in("%s: \"%s\"", path, key);
    }
fail:
    json_decref(root);
    return err;
}

/* "left right"; the first line may be a #version comment. */
static lt_err read_merge_line(lt_merge_list *list, const lt_vocab *v, const char *line, size_t n,
                              lt_buf part[2])
{
    const char *gap = memchr(line, ' ', n);
    size_t size[2] = { gap ? (size_t)(gap - line) : 0, gap ? (size_t)(line + n - gap - 1) : 0 };
    const char *start[2] = { line, gap ? gap + 1 : NULL };

    for (int side = 0; side < 2; side++) {
        lt_buf_clear(&part[side]);
        if (size[side] == 0 || !lt_alphabet_read(&part[side], start[side], size[side]))
            return lt_fail(LT_EFORMAT, "expected two tokens with a space between them");
    }
    return lt_merge_list_add(list, v, &part[0], &part[1]);
}

static lt_err read_merges(lt_merge_list *list, const lt_vocab *v, const char *path)
{
    lt_buf text = { 0 }, part[2] = { { 0 }, { 0 } };
    const char *line, *end;
    size_t number = 1;
    lt_err err;

    LT_TRY(err = lt_file_read_all(&text, path, MAX_FILE_BYTES));
    line = lt_buf_cstr(&text);
    end = line + text.size;
    for (; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        bool is_comment = number == 1 && n >= 8 && memcmp(line, "#version", 8) == 0;

        if (n > 0 && line[n - 1] == '\r')
            n--;
        if (n > 0 && !is_comment && (err = read_merge_line(list, v, line, n, part)) != LT_OK) {
            lt_fail_in("%s:%zu", path, number);
            goto fail;
        }
        line = stop ? stop + 1 : end;
    }
fail:
    lt_buf_release(&text);
    lt_buf_release(&part[0]);
    lt_buf_release(&part[1]);
    return err;
}

static void mark_specials(lt_tokenizer *t, const lt_merge_list *list)
{
    bool *made = lt_new_array0(t->vocab.n_ids, sizeof *made);

    for (size_t i = 0; i < list->n; i++)
        made[list->merges[i].result] = true;
    for (uint32_t id = 0; id < t->vocab.n_ids; id++) {
        lt_token *token = &t->vocab.tokens[id];

        if (token->kind == LT_TOKEN_PLAIN && token->length > 1 && !made[id])
            token->kind = LT_TOKEN_SPECIAL;
    }
    free(made);
}

lt_err lt_tokenizer_read_folder(lt_tokenizer **out, const char *folder)
{
    lt_tokenizer *t = lt_new0(sizeof *t);
    lt_merge_list list = { 0 };
    char *vocab = lt_path_join(folder, "vocab.json"), *merges = lt_path_join(folder, "merges.txt");
    lt_err err;

    t->bos_id = LT_NO_ID;
    if (!lt_path_exists(vocab) || !lt_path_exists(merges)) {
        err = lt_fail(LT_ENOENT, "%s: holds neither tokenizer.json nor vocab.json with merges.txt",
                      folder);
        goto fail;
    }
    LT_TRY(err = read_vocab(t, vocab));
    LT_TRY(err = read_merges(&list, &t->vocab, merges));
    mark_specials(t, &list);
    err = lt_tokenizer_seal(t, &list);
    if (err != LT_OK) {
        lt_fail_in("%s", vocab);
        goto fail;
    }
    *out = t;
    t = NULL;
fail:
    free(vocab);
    free(merges);
    free(list.merges);
    lt_tokenizer_free(t);
    return err;
}
