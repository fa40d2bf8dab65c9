/* batch/batch_explain.c - says in words where a sample's tokens come from. */
#include "batch/batch.h"
#include "batch/sampler.h"

#include <stdlib.h>

typedef unsigned long long ull;

/* One line a shard that the window touches. */
static lt_err explain_shards(const lt_dataset *d, uint64_t first, uint64_t n, lt_buf *out)
{
    lt_err err = LT_OK;

    while (n > 0) {
        lt_dataset_place at, last;
        uint64_t take;

        LT_TRY(err = lt_dataset_locate(d, first, &at));
        take = n < at.left ? n : at.left;
        LT_TRY(err = lt_dataset_locate(d, first + take - 1, &last));
        lt_buf_printf(out, "  %s: tokens %llu..%llu, frame %llu at byte %llu, token %llu of it",
                      at.shard_name, (ull)at.token, (ull)(at.token + take - 1), (ull)at.frame,
                      (ull)at.frame_offset, (ull)at.in_frame);
        if (last.frame != at.frame)
            lt_buf_printf(out, ", to frame %llu at byte %llu", (ull)last.frame,
                          (ull)last.frame_offset);
        lt_buf_printf(out, "\n");
        first += take;
        n -= take;
    }
fail:
    return err;
}

lt_err lt_batch_explain(const lt_batcher_options *o, uint64_t k, lt_buf *out)
{
    uint64_t first, doc, last_doc;
    lt_sampler s;
    lt_err err;

    LT_TRY(err = lt_sampler_init(&s, lt_dataset_tokens(o->data), o->seq_len, o->seed, o->stream,
                                 o->shuffle, lt_dataset_path(o->data)));
    first = lt_sampler_first_token(&s, k);
    lt_buf_printf(out, "sample %llu: epoch %llu, window %llu of %llu, tokens %llu..%llu of %s\n",
                  (ull)k, (ull)s.epoch, (ull)((first - s.offset) / s.seq_len), (ull)s.n_windows,
                  (ull)first, (ull)(first + s.seq_len), lt_dataset_path(o->data));
    LT_TRY(err = explain_shards(o->data, first, s.seq_len + 1, out));
    if (lt_dataset_has_documents(o->data)) {
        lt_dataset_next_end(o->data, first, &doc);
        lt_dataset_next_end(o->data, first + s.seq_len, &last_doc);
        lt_buf_printf(out, "  documents %llu..%llu\n", (ull)doc, (ull)last_doc);
    }
fail:
    return err;
}
