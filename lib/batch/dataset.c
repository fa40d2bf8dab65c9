/* batch/dataset.c - the shards of a manifest behind one address. */
#include "batch/dataset.h"

#include "base/file.h"
#include "shard/shard_folder.h"
#include "shard/shard_verify.h"

#include <math.h>
#include <stdlib.h>

struct lt_dataset {
    char *path;
    lt_shard_manifest manifest;
    lt_shard_reader **shards; /* [manifest.n_rows] */
    uint64_t *starts;         /* [n_rows + 1] first position of each shard */
    uint64_t *first_docs;     /* [n_rows + 1] document ends before each shard */
    bool has_documents;
};

static lt_dataset *new_dataset(const char *path)
{
    lt_dataset *d = lt_new0(sizeof *d);

    d->path = lt_strdup(path);
    d->has_documents = true;
    return d;
}

/* Room for the readers of all rows of the manifest. */
static void allocate_rows(lt_dataset *d)
{
    size_t n = d->manifest.n_rows;

    d->shards = lt_new_array0(n, sizeof(lt_shard_reader *));
    d->starts = lt_new_array0(n + 1, sizeof *d->starts);
    d->first_docs = lt_new_array0(n + 1, sizeof *d->first_docs);
}

static void add_shard(lt_dataset *d, size_t i)
{
    const lt_shard_info *s = lt_shard_reader_info(d->shards[i]);

    d->starts[i + 1] = d->starts[i] + s->foot.n_tokens;
    d->first_docs[i + 1] = d->first_docs[i] + s->foot.n_docs;
    d->has_documents = d->has_documents && (s->head.flags & LT_SHARD_HAS_DOCS);
}

lt_err lt_dataset_open(lt_dataset **out, const char *manifest_path)
{
    lt_dataset *d = new_dataset(manifest_path);
    lt_err err;

    LT_TRY(err = lt_shard_manifest_load(&d->manifest, manifest_path));
    allocate_rows(d);
    for (size_t i = 0; i < d->manifest.n_rows; i++) {
        LT_TRY(err = lt_shard_manifest_open_shard(&d->manifest, manifest_path, i, &d->shards[i]));
        LT_TRY(err = lt_shard_reader_share(d->shards[i], d->shards[0]));
        add_shard(d, i);
    }
    *out = d;
    return LT_OK;
fail:
    lt_dataset_close(d);
    return err;
}

lt_err lt_dataset_open_shard(lt_dataset **out, const char *shard_path)
{
    lt_dataset *d = new_dataset(shard_path);
    lt_shard_reader *r;
    lt_err err;

    LT_TRY(err = lt_shard_reader_open(&r, shard_path));
    lt_shard_manifest_describe(&d->manifest, &lt_shard_reader_info(r)->head);
    lt_shard_manifest_add(&d->manifest, lt_path_base(shard_path), &lt_shard_reader_info(r)->foot);
    allocate_rows(d);
    d->shards[0] = r;
    add_shard(d, 0);
    *out = d;
    return LT_OK;
fail:
    lt_dataset_close(d);
    return err;
}

void lt_dataset_close(lt_dataset *d)
{
    if (!d)
        return;
    for (size_t i = d->manifest.n_rows; d->shards && i-- > 0;)
        lt_shard_reader_close(d->shards[i]); /* the first last: the others use its desk */
    free(d->shards);
    free(d->starts);
    free(d->first_docs);
    lt_shard_manifest_release(&d->manifest);
    free(d->path);
    free(d);
}

const lt_shard_manifest *lt_dataset_manifest(const lt_dataset *d)
{
    return &d->manifest;
}

const char *lt_dataset_path(const lt_dataset *d)
{
    return d->path;
}

char *lt_dataset_tokenizer_path(const lt_dataset *d)
{
    int dir = (int)(lt_path_base(d->path) - d->path);
    char *beside = lt_asprintf("%.*stokenizer.json", dir, d->path);
    char *real = lt_shard_folder_resolve(beside);

    free(beside);
    return real;
}

uint64_t lt_dataset_tokens(const lt_dataset *d)
{
    return d->starts[d->manifest.n_rows];
}

bool lt_dataset_has_documents(const lt_dataset *d)
{
    return d->has_documents;
}

/* The shard that holds position p < tokens: the last one that starts at or before p. */
static size_t shard_of(const lt_dataset *d, uint64_t p)
{
    size_t lo = 0, hi = d->manifest.n_rows - 1;

    LT_BUG_ON(p >= lt_dataset_tokens(d));
    while (lo < hi) {
        size_t mid = lo + (hi - lo + 1) / 2;

        if (d->starts[mid] <= p)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

lt_err lt_dataset_read(lt_dataset *d, uint64_t first, uint32_t *dst, size_t n)
{
    uint64_t tokens = lt_dataset_tokens(d);
    lt_err err = LT_OK;

    LT_BUG_ON(first > tokens || n > tokens - first);
    while (n > 0) {
        size_t i = shard_of(d, first);
        uint64_t there = d->starts[i + 1] - first;
        size_t take = n < there ? n : (size_t)there;

        LT_TRY(err = lt_shard_reader_read(d->shards[i], first - d->starts[i], dst, take));
        dst += take;
        first += take;
        n -= take;
    }
fail:
    return err;
}

void lt_dataset_work(const lt_dataset *d, lt_shard_work *sum)
{
    lt_shard_reader_work(d->shards[0], sum); /* the desk is everybody's */
}

uint64_t lt_dataset_next_end(const lt_dataset *d, uint64_t p, uint64_t *ordinal)
{
    uint64_t before = d->first_docs[d->manifest.n_rows], found = lt_dataset_tokens(d);

    for (size_t i = p < found ? shard_of(d, p) : d->manifest.n_rows; i < d->manifest.n_rows; i++) {
        uint64_t from = p > d->starts[i] ? p - d->starts[i] : 0, in_shard;
        uint64_t end = lt_shard_reader_next_end(d->shards[i], from, &in_shard);

        if (end < d->starts[i + 1] - d->starts[i]) {
            before = d->first_docs[i] + in_shard;
            found = d->starts[i] + end;
            break;
        }
    }
    if (ordinal)
        *ordinal = before;
    return found;
}

/* Position of the end of document `ordinal`. */
static uint64_t document_end(const lt_dataset *d, uint64_t ordinal)
{
    uint64_t first, n;
    size_t i = 0;

    LT_BUG_ON(ordinal >= d->first_docs[d->manifest.n_rows]);
    while (d->first_docs[i + 1] <= ordinal)
        i++;
    lt_shard_reader_document(d->shards[i], ordinal - d->first_docs[i], &first, &n);
    return d->starts[i] + first + n - 1;
}

void lt_dataset_document(const lt_dataset *d, uint64_t ordinal, uint64_t *first, uint64_t *n)
{
    *first = ordinal > 0 ? document_end(d, ordinal - 1) + 1 : 0;
    *n = document_end(d, ordinal) + 1 - *first;
}

lt_err lt_dataset_verify(lt_dataset *d)
{
    lt_err err = LT_OK;

    for (size_t i = 0; i < d->manifest.n_rows; i++)
        LT_TRY(err = lt_shard_verify(d->shards[i]));
fail:
    return err;
}

const lt_shard_reader *lt_dataset_shard(const lt_dataset *d, size_t row)
{
    LT_BUG_ON(row >= d->manifest.n_rows);
    return d->shards[row];
}

lt_err lt_dataset_locate(const lt_dataset *d, uint64_t p, lt_dataset_place *out)
{
    size_t i = shard_of(d, p);
    uint32_t log2 = lt_shard_reader_info(d->shards[i])->head.frame_log2;
    lt_shard_frame frame;
    lt_err err;

    *out = (lt_dataset_place){ .shard_name = d->manifest.rows[i].path };
    out->token = p - d->starts[i];
    out->frame = out->token >> log2;
    out->in_frame = out->token & ((UINT64_C(1) << log2) - 1);
    out->left = d->starts[i + 1] - p;
    LT_TRY(err = lt_shard_reader_frame(d->shards[i], out->frame, &frame));
    out->frame_offset = frame.offset;
fail:
    return err;
}

lt_err lt_dataset_unigram_entropy(lt_dataset *d, double *nats)
{
    enum { STEP = 1 << 16 };
    uint64_t n = lt_dataset_tokens(d), *counts = NULL;
    uint32_t *ids = lt_new_array0(STEP, sizeof *ids);
    lt_err err;

    LT_TRY(err = lt_alloc_array(&counts, d->manifest.vocab_size, sizeof *counts, d->path));
    for (uint64_t at = 0; at < n; at += STEP) {
        size_t take = n - at < STEP ? (size_t)(n - at) : STEP;

        LT_TRY(err = lt_dataset_read(d, at, ids, take));
        for (size_t i = 0; i < take; i++)
            counts[ids[i]]++;
    }
    *nats = 0;
    for (uint32_t id = 0; id < d->manifest.vocab_size; id++)
        if (counts[id] > 0)
            *nats -= (double)counts[id] / (double)n * log((double)counts[id] / (double)n);
fail:
    free(counts);
    free(ids);
    return err;
}
