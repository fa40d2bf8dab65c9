/* ckpt/manifest.c - parses a MANIFEST into plain tables.  manifest_check.c judges them. */
#include "ckpt/manifest_check.h"
#include "base/hash.h"
#include "ckpt/json_scan.h"
#include "ckpt/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGEST_LINE = 10 + 64 + 3 }; /* "sha256":"<64 hex>"} and a newline */

/* The text before the digest line, verified; *body is its length. */
static lt_err check_digest(const char *text, size_t n, const char *name, size_t *body)
{
    uint8_t digest[LT_SHA256_BYTES];
    char hex[LT_SHA256_HEX], line[DIGEST_LINE + 1];
    lt_sha256 sha;

    if (n < DIGEST_LINE)
        return lt_fail(LT_EFORMAT, "%s: truncated: %zu bytes", name, n);
    *body = n - DIGEST_LINE;
    lt_sha256_init(&sha);
    lt_sha256_update(&sha, text, *body);
    lt_sha256_final(&sha, digest);
    lt_sha256_hex(digest, hex);
    snprintf(line, sizeof line, "\"sha256\":\"%s\"}\n", hex);
    if (memcmp(line, text + *body, DIGEST_LINE) != 0)
        return lt_fail(LT_EFORMAT,
                       "%s: damaged: the last line does not hold the sha256 of the %zu bytes "
                       "before it, %s",
                       name, *body, hex);
    return LT_OK;
}

static lt_err scan_word(lt_json_scan *s, char **out)
{
    char text[LT_CKPT_WORD_BYTES];
    lt_err err = lt_json_scan_string(s, text, sizeof text);

    if (err == LT_OK)
        *out = lt_strdup(text);
    return err;
}

static lt_err scan_u32(lt_json_scan *s, uint32_t *out)
{
    uint64_t v;
    lt_err err;

    LT_TRY(err = lt_json_scan_u64(s, &v));
    if (v > UINT32_MAX)
        return lt_json_scan_fail(s, "expected at most 4294967295, found %" PRIu64, v);
    *out = (uint32_t)v;
fail:
    return err;
}

/* The float types that a tensor may have. */
static lt_err scan_dtype(lt_json_scan *s, lt_dtype *out)
{
    char text[8];
    lt_err err;

    LT_TRY(err = lt_json_scan_string(s, text, sizeof text));
    if (!lt_dtype_from_safetensors(out, text) || !lt_ckpt_dtype_ok(*out))
        return lt_json_scan_fail(s, "expected dtype F32, BF16 or F16, found \"%s\"", text);
fail:
    return err;
}

static lt_err scan_shape(lt_json_scan *s, lt_ckpt_tensor *t)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return LT_OK;
        if (t->n_dims == 2)
            return lt_json_scan_fail(s, "expected one or two dimensions");
        LT_TRY(err = lt_json_scan_u64(s, &t->dims[t->n_dims++]));
    }
fail:
    return err;
}

static lt_err scan_layout(lt_json_scan *s, lt_hf_layout *out)
{
    char text[16];
    lt_err err;

    LT_TRY(err = lt_json_scan_string(s, text, sizeof text));
    *out = strcmp(text, "conv1d") == 0 ? LT_HF_CONV1D : LT_HF_LINEAR;
    if (*out == LT_HF_LINEAR && strcmp(text, "linear") != 0)
        return lt_json_scan_fail(s, "expected hf_layout linear or conv1d, found \"%s\"", text);
fail:
    return err;
}

static lt_err scan_tensor(lt_json_scan *s, lt_ckpt_tensor *t)
{
    static const char *const keys[] = { "name", "dtype", "shape", "hf_layout", "trainable" };
    char name[LT_SAFETENSORS_NAME_BYTES + 1];
    lt_json_scan_in in;
    uint32_t seen = 0;
    int key;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return seen == 31 ? LT_OK : lt_json_scan_fail(s, "a tensor lacks a member");
        LT_TRY(err = lt_json_scan_known_key(s, keys, LT_COUNT(keys), &seen, &key));
        if (key == 0) {
            LT_TRY(err = lt_json_scan_string(s, name, sizeof name));
            t->name = lt_strdup(name);
        } else if (key == 1) {
            LT_TRY(err = scan_dtype(s, &t->dtype));
        } else if (key == 2) {
            LT_TRY(err = scan_shape(s, t));
        } else if (key == 3) {
            LT_TRY(err = scan_layout(s, &t->layout));
        } else if (key == 4) {
            LT_TRY(err = lt_json_scan_bool(s, &t->trainable));
        } else {
            return lt_json_scan_fail(s, "a tensor has an unknown member");
        }
    }
fail:
    return err;
}

static lt_err scan_crcs(lt_json_scan *s, lt_manifest_file *f)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (;;) {
        char hex[9], *end;

        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return LT_OK;
        LT_TRY(err = lt_json_scan_string(s, hex, sizeof hex));
        if (strspn(hex, "0123456789abcdef") != 8)
            return lt_json_scan_fail(s, "expected a crc32c of 8 hex digits, found \"%s\"", hex);
        lt_array_reserve(&f->crc, &f->crc_capacity, f->n_blocks + 1, sizeof *f->crc);
        f->crc[f->n_blocks++] = (uint32_t)strtoul(hex, &end, 16);
    }
fail:
    return err;
}

/* [tensor, "F32", first, count, offset] */
static lt_err scan_slice(lt_json_scan *s, lt_manifest_slice *slice)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (int i = 0;; i++) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (more != (i < 5))
            return lt_json_scan_fail(s, "a slice has not five members");
        if (!more)
            return LT_OK;
        if (i == 0)
            LT_TRY(err = scan_u32(s, &slice->tensor));
        else if (i == 1)
            LT_TRY(err = scan_dtype(s, &slice->dtype));
        else
            LT_TRY(err = lt_json_scan_u64(s, i == 2   ? &slice->first
                                             : i == 3 ? &slice->count
                                                      : &slice->offset));
    }
fail:
    return err;
}

static lt_err scan_slices(lt_json_scan *s, lt_manifest_file *f)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return LT_OK;
        lt_array_reserve(&f->slices, &f->slice_capacity, f->n_slices + 1, sizeof *f->slices);
        LT_TRY(err = scan_slice(s, &f->slices[f->n_slices++]));
    }
fail:
    return err;
}

static lt_err scan_file(lt_json_scan *s, lt_manifest_file *f)
{
    static const char *const keys[] = { "name", "size", "crc32c", "group", "rank", "slices" };
    lt_json_scan_in in;
    uint32_t seen = 0;
    int key;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more) /* a blob has the first three */
            return seen == 7 || seen == 63 ? LT_OK : lt_json_scan_fail(s, "a file lacks a member");
        LT_TRY(err = lt_json_scan_known_key(s, keys, LT_COUNT(keys), &seen, &key));
        if (key == 0)
            LT_TRY(err = scan_word(s, &f->name));
        else if (key == 1)
            LT_TRY(err = lt_json_scan_u64(s, &f->size));
        else if (key == 2)
            LT_TRY(err = scan_crcs(s, f));
        else if (key == 3)
            LT_TRY(err = scan_word(s, &f->group));
        else if (key == 4)
            LT_TRY(err = scan_u32(s, &f->rank));
        else if (key == 5)
            LT_TRY(err = scan_slices(s, f));
        else
            return lt_json_scan_fail(s, "a file has an unknown member");
    }
fail:
    return err;
}

static lt_err scan_tensors(lt_json_scan *s, lt_manifest *m)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return LT_OK;
        if (m->n_tensors == LT_SAFETENSORS_MAX_TENSORS)
            return lt_json_scan_fail(s, "more than %d tensors", LT_SAFETENSORS_MAX_TENSORS);
        lt_array_reserve(&m->tensors, &m->tensor_capacity, m->n_tensors + 1, sizeof *m->tensors);
        m->tensors[m->n_tensors] = (lt_ckpt_tensor){ 0 };
        LT_TRY(err = scan_tensor(s, &m->tensors[m->n_tensors++]));
    }
fail:
    return err;
}

static lt_err scan_files(lt_json_scan *s, lt_manifest *m)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return LT_OK;
        lt_array_reserve(&m->files, &m->file_capacity, m->n_files + 1, sizeof *m->files);
        m->files[m->n_files] = (lt_manifest_file){ 0 };
        LT_TRY(err = scan_file(s, &m->files[m->n_files++]));
    }
fail:
    return err;
}

enum {
    FORMAT,
    VERSION,
    WRITER,
    RUN_ID,
    ATTEMPT,
    TIME,
    STEP,
    SAMPLES,
    TOKENS,
    WORLD,
    BLOCK_BYTES,
    TENSORS,
    FILES,
    SHA256,
    N_KEYS
};

static lt_err scan_member(lt_json_scan *s, lt_manifest *m, int key)
{
    char text[LT_SHA256_HEX], *run_id = NULL;
    uint64_t number;
    lt_err err;

    switch (key) {
    case FORMAT:
        LT_TRY(err = lt_json_scan_string(s, text, sizeof text));
        return strcmp(text, "lt-checkpoint") == 0
                   ? LT_OK
                   : lt_json_scan_fail(s, "expected format lt-checkpoint, found \"%s\"", text);
    case VERSION:
        LT_TRY(err = lt_json_scan_u64(s, &number));
        return number == LT_MANIFEST_VERSION
                   ? LT_OK
                   : lt_fail(LT_ENOTSUP, "%s: version %" PRIu64 " is not known, expected %d",
                             s->name, number, LT_MANIFEST_VERSION);
    case WRITER:
        return scan_word(s, &m->writer);
    case RUN_ID:
        LT_TRY(err = scan_word(s, &run_id));
        m->step.run_id = run_id;
        return LT_OK;
    case ATTEMPT:
        return lt_json_scan_string(s, m->attempt, sizeof m->attempt);
    case TIME:
        return lt_json_scan_u64(s, &m->time);
    case STEP:
        return lt_json_scan_u64(s, &m->step.step);
    case SAMPLES:
        return lt_json_scan_u64(s, &m->step.samples);
    case TOKENS:
        return lt_json_scan_u64(s, &m->step.tokens);
    case WORLD:
        return scan_u32(s, &m->world);
    case BLOCK_BYTES:
        LT_TRY(err = lt_json_scan_u64(s, &number));
        return number == LT_CKPT_BLOCK
                   ? LT_OK
                   : lt_json_scan_fail(s, "block_bytes %" PRIu64 " is not known, expected %d",
                                       number, LT_CKPT_BLOCK);
    case TENSORS:
        return scan_tensors(s, m);
    case FILES:
        return scan_files(s, m);
    case SHA256:
        return lt_json_scan_string(s, text, sizeof text); /* check_digest has judged it */
    default:
        return lt_json_scan_fail(s, "unknown member");
    }
fail:
    return err;
}

lt_err lt_manifest_parse(lt_manifest **out, const char *text, size_t n, const char *name)
{
    static const char *const keys[N_KEYS] = { "format",  "version", "writer",      "run_id",
                                              "attempt", "time",    "step",        "samples",
                                              "tokens",  "world",   "block_bytes", "tensors",
                                              "files",   "sha256" };
    lt_json_scan s = { .text = text, .size = n, .name = name };
    lt_manifest *m = lt_new0(sizeof *m);
    lt_json_scan_in in;
    uint32_t seen = 0;
    size_t body;
    bool more;
    int key;
    lt_err err;

    LT_TRY(err = check_digest(text, n, name, &body));
    LT_TRY(err = lt_json_scan_open(&s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(&s, &in, &more));
        if (!more)
            break;
        LT_TRY(err = lt_json_scan_known_key(&s, keys, N_KEYS, &seen, &key));
        LT_TRY(err = scan_member(&s, m, key));
    }
    LT_TRY(err = lt_json_scan_end(&s));
    if (seen != (1u << N_KEYS) - 1) {
        err = lt_json_scan_fail(&s, "a member is missing");
        goto fail;
    }
    LT_TRY(err = lt_manifest_check(m, name));
    *out = m;
    return LT_OK;
fail:
    lt_manifest_free(m);
    return err;
}

void lt_manifest_free(lt_manifest *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_tensors; i++)
        free((void *)m->tensors[i].name);
    for (size_t i = 0; i < m->n_files; i++) {
        free(m->files[i].name);
        free(m->files[i].group);
        free(m->files[i].crc);
        free(m->files[i].slices);
    }
    free((void *)m->step.run_id);
    free(m->writer);
    free(m->tensors);
    free(m->by_name);
    free(m->files);
    free(m->pieces);
    free(m);
}
