/* shard/shard_manifest.c - manifests as text. */
#include "shard/shard_manifest.h"

#include "base/file.h"
#include "base/options.h"
#include "shard/shard_folder.h"
#include "shard/token_stream.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 64 << 20, MAX_NUMBER = 24 };
static const char TITLE[] = "lt-manifest 1";

void lt_shard_manifest_release(lt_shard_manifest *m)
{
    for (size_t i = 0; i < m->n_rows; i++)
        free(m->rows[i].path);
    free(m->rows);
    *m = (lt_shard_manifest){ 0 };
}

static lt_shard_row *new_row(lt_shard_manifest *m)
{
    lt_array_reserve(&m->rows, &m->capacity, m->n_rows + 1, sizeof *m->rows);
    m->rows[m->n_rows] = (lt_shard_row){ 0 };
    return &m->rows[m->n_rows++];
}

void lt_shard_manifest_describe(lt_shard_manifest *m, const lt_shard_head *head)
{
    m->vocab_size = head->vocab_size;
    m->eot_id = head->eot_id;
    m->bos_id = head->bos_id;
    memcpy(m->tokenizer_hash, head->tokenizer_hash, 32);
}

void lt_shard_manifest_add(lt_shard_manifest *m, const char *path, const lt_shard_foot *foot)
{
    lt_shard_row *row = new_row(m);

    row->path = lt_strdup(path);
    row->n_tokens = foot->n_tokens;
    row->n_docs = foot->n_docs;
    memcpy(row->root, foot->root, 32);
    m->n_tokens += foot->n_tokens;
    m->n_docs += foot->n_docs;
}

/* ---- writing ---- */

static void put_token(lt_buf *out, const char *key, uint32_t id)
{
    if (id == LT_NO_TOKEN)
        lt_buf_printf(out, "%s none\n", key);
    else
        lt_buf_printf(out, "%s %u\n", key, id);
}

static void digest(const void *data, size_t n, uint8_t out[32])
{
    lt_sha256 s;

    lt_sha256_init(&s);
    lt_sha256_update(&s, data, n);
    lt_sha256_final(&s, out);
}

void lt_shard_manifest_format(lt_shard_manifest *m, lt_buf *out)
{
    char hex[LT_SHA256_HEX];
    size_t start = out->size;

    lt_sha256_hex(m->tokenizer_hash, hex);
    lt_buf_printf(out, "%s\ntokenizer %s\nvocab_size %u\n", TITLE, hex, m->vocab_size);
    put_token(out, "eot_id", m->eot_id);
    put_token(out, "bos_id", m->bos_id);
    lt_buf_printf(out, "dtype %s\n", m->vocab_size <= 65536 ? "u16" : "u32");
    lt_buf_printf(out, "shards %zu tokens %llu documents %llu\n", m->n_rows,
                  (unsigned long long)m->n_tokens, (unsigned long long)m->n_docs);
    for (size_t i = 0; i < m->n_rows; i++) {
        const lt_shard_row *r = &m->rows[i];

        lt_sha256_hex(r->root, hex);
        lt_buf_printf(out, "%s\t%llu\t%llu\t%s\n", r->path, (unsigned long long)r->n_tokens,
                      (unsigned long long)r->n_docs, hex);
    }
    digest(out->data + start, out->size - start, m->id);
    lt_sha256_hex(m->id, hex);
    lt_buf_printf(out, "id %s\n", hex);
}

lt_err lt_shard_manifest_save(lt_shard_manifest *m, const char *path)
{
    lt_buf text = { 0 };
    lt_err err;

    lt_shard_manifest_format(m, &text);
    err = lt_file_write_atomic(path, text.data, text.size);
    lt_buf_release(&text);
    return err;
}

/* ---- reading ---- */

/* The text yet to be read. */
typedef struct cursor {
    const char *at, *end, *name;
    int line;
} cursor;

static lt_err fail_line(const cursor *c, const char *expected)
{
    size_t n = 0;

    while (c->at + n < c->end && n < 40 && (unsigned char)c->at[n] >= ' ' && c->at[n] != 127)
        n++;
    if (c->at == c->end)
        return lt_fail(LT_EFORMAT, "%s:%d: expected %s, found the end of the file", c->name,
                       c->line, expected);
    return lt_fail(LT_EFORMAT, "%s:%d: expected %s, found \"%.*s\"", c->name, c->line, expected,
                   (int)n, c->at);
}

static bool take(cursor *c, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    c->line += n > 0 && word[n - 1] == '\n';
    return true;
}

/* Decimal digits without sign or leading zero. */
static bool take_number(cursor *c, uint64_t max, uint64_t *out)
{
    const char *p = c->at;
    uint64_t v = 0;

    while (p < c->end && *p >= '0' && *p <= '9' && p - c->at < MAX_NUMBER) {
        if (!lt_size_muladd(v, 10, (uint64_t)(*p - '0'), &v))
            return false;
        p++;
    }
    if (p == c->at || v > max || (*c->at == '0' && p - c->at > 1))
        return false;
    c->at = p;
    *out = v;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hash(cursor *c, uint8_t out[32])
{
    if (c->end - c->at < 64)
        return false;
    for (int i = 0; i < 32; i++) {
        int hi = hex_digit(c->at[2 * i]), lo = hex_digit(c->at[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(16 * hi + lo);
    }
    c->at += 64;
    return true;
}

static bool take_token(cursor *c, const char *key, uint32_t vocab_size, uint32_t *out)
{
    uint64_t v;

    if (!take(c, key))
        return false;
    if (take(c, "none")) {
        *out = LT_NO_TOKEN;
        return take(c, "\n");
    }
    if (!take_number(c, vocab_size - 1, &v))
        return false;
    *out = (uint32_t)v;
    return take(c, "\n");
}

/* A name below the manifest's folder: relative, no "..", no control characters. */
static bool take_path(cursor *c, char **out)
{
    const char *tab = memchr(c->at, '\t', (size_t)(c->end - c->at));
    size_t n = tab ? (size_t)(tab - c->at) : 0;

    if (n == 0 || n > 1024 || c->at[0] == '/')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)c->at[i] < ' ' || c->at[i] == 127)
            return false;
    *out = lt_new0(n + 1);
    memcpy(*out, c->at, n);
    for (const char *p = *out; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
            return false; /* the row owns *out already */
    }
    c->at += n;
    return true;
}

static lt_err parse_header(lt_shard_manifest *m, cursor *c, uint64_t *n_rows, uint64_t sums[2])
{
    uint64_t v;

    if (!take(c, TITLE) || !take(c, "\n"))
        return fail_line(c, "\"lt-manifest 1\"");
    if (!take(c, "tokenizer ") || !take_hash(c, m->tokenizer_hash) || !take(c, "\n"))
        return fail_line(c, "\"tokenizer\" and 64 hexadecimal digits");
    if (!take(c, "vocab_size ") || !take_number(c, INT32_MAX, &v) || v == 0 || !take(c, "\n"))
        return fail_line(c, "\"vocab_size\" and a number");
    m->vocab_size = (uint32_t)v;
    if (!take_token(c, "eot_id ", m->vocab_size, &m->eot_id))
        return fail_line(c, "\"eot_id\" and an id below the vocabulary size, or none");
    if (!take_token(c, "bos_id ", m->vocab_size, &m->bos_id))
        return fail_line(c, "\"bos_id\" and an id below the vocabulary size, or none");
    if (!take(c, m->vocab_size <= 65536 ? "dtype u16\n" : "dtype u32\n"))
        return fail_line(c, m->vocab_size <= 65536 ? "\"dtype u16\"" : "\"dtype u32\"");
    if (!take(c, "shards ") || !take_number(c, UINT32_MAX, n_rows) || !take(c, " tokens ") ||
        !take_number(c, UINT64_MAX, &sums[0]) || !take(c, " documents ") ||
        !take_number(c, UINT64_MAX, &sums[1]) || !take(c, "\n"))
        return fail_line(c, "\"shards N tokens N documents N\"");
    return LT_OK;
}

static lt_err parse_row(lt_shard_manifest *m, cursor *c)
{
    lt_shard_row *row = new_row(m);

    if (!take_path(c, &row->path))
        return fail_line(c, "a shard's path below this folder, and a tab");
    if (!take(c, "\t") || !take_number(c, LT_SHARD_MAX_TOKENS, &row->n_tokens) || !take(c, "\t") ||
        !take_number(c, row->n_tokens, &row->n_docs) || !take(c, "\t") ||
        !take_hash(c, row->root) || !take(c, "\n"))
        return fail_line(c, "tab-separated tokens, documents and root of a shard");
    m->n_tokens += row->n_tokens;
    m->n_docs += row->n_docs;
    return LT_OK;
}

lt_err lt_shard_manifest_parse(lt_shard_manifest *m, const char *text, size_t n, const char *name)
{
    cursor c = { .at = text, .end = text + n, .name = name, .line = 1 };
    uint64_t n_rows = 0, sums[2] = { 0 };
    uint8_t id[32];
    lt_err err;

    *m = (lt_shard_manifest){ 0 };
    LT_TRY(err = parse_header(m, &c, &n_rows, sums));
    for (uint64_t i = 0; i < n_rows; i++)
        LT_TRY(err = parse_row(m, &c));
    digest(text, (size_t)(c.at - text), m->id);
    if (!take(&c, "id ") || !take_hash(&c, id) || !take(&c, "\n") || c.at != c.end) {
        err = fail_line(&c, "\"id\", 64 hexadecimal digits and the end of the file");
        goto fail;
    }
    if (memcmp(id, m->id, sizeof id) != 0 || sums[0] != m->n_tokens || sums[1] != m->n_docs) {
        err = lt_fail(LT_EFORMAT,
                      "%s: damaged or edited: its id or its sums do not agree with its "
                      "lines (lt-shard manifest writes a new one)",
                      name);
        goto fail;
    }
    return LT_OK;
fail:
    lt_shard_manifest_release(m);
    return err;
}

lt_err lt_shard_manifest_load(lt_shard_manifest *m, const char *path)
{
    char *real = lt_shard_folder_resolve(path);
    lt_buf text = { 0 };
    lt_err err;

    *m = (lt_shard_manifest){ 0 };
    LT_TRY(err = lt_file_read_all(&text, real, MAX_BYTES));
    if (text.size == 0 && strcmp(real, path) != 0) { /* see shard_folder.h */
        err = lt_fail(LT_ENOENT, "%s: %s", path, "the data set has no such split");
        goto fail;
    }
    LT_TRY(err = lt_shard_manifest_parse(m, lt_buf_cstr(&text), text.size, path));
fail:
    lt_buf_release(&text);
    free(real);
    return err;
}

lt_err lt_shard_manifest_open_shard(const lt_shard_manifest *m, const char *path, size_t row,
                                    lt_shard_reader **out)
{
    const lt_shard_row *want = &m->rows[row];
    size_t dir = (size_t)(lt_path_base(path) - path);
    char *beside = lt_asprintf("%.*s%s", (int)dir, path, want->path);
    char *real = lt_shard_folder_resolve(beside);
    const lt_shard_info *s;
    lt_shard_reader *r = NULL;
    lt_err err;

    LT_TRY(err = lt_shard_reader_open(&r, real));
    s = lt_shard_reader_info(r);
    if (memcmp(s->head.tokenizer_hash, m->tokenizer_hash, 32) != 0 ||
        s->head.vocab_size != m->vocab_size) {
        err = lt_fail(LT_EMISMATCH, "%s: made with another tokenizer than %s says", real, path);
        goto fail;
    }
    if (s->foot.n_tokens != want->n_tokens || s->foot.n_docs != want->n_docs ||
        memcmp(s->foot.root, want->root, 32) != 0) {
        err = lt_fail(LT_EMISMATCH,
                      "%s: not the shard that %s means: %llu tokens, %llu documents, "
                      "expected %llu and %llu with the root given there",
                      real, path, (unsigned long long)s->foot.n_tokens,
                      (unsigned long long)s->foot.n_docs, (unsigned long long)want->n_tokens,
                      (unsigned long long)want->n_docs);
        goto fail;
    }
    *out = r;
    r = NULL;
fail:
    lt_shard_reader_close(r);
    free(beside);
    free(real);
    return err;
}
