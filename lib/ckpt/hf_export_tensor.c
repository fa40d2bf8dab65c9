/* ckpt/hf_export_tensor.c - streams a tensor: read as fp32, judge, transpose if need be, narrow.
 *
 * A conv1d tensor (out, in) leaves as (in, out).  A tile is a range of columns of all rows; its
 * transpose is a run of whole output rows, so the output stays sequential while the input is read
 * in pieces of one row.  Small tensors are one tile: one sequential read. */
#include "ckpt/hf_export_tensor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { TILE_ELEMENTS = LT_HF_EXPORT_BUFFER / 4, SQUARE = 32 };

void lt_hf_stored_shape(const lt_ckpt_tensor *t, uint64_t dims[2])
{
    bool swap = t->layout == LT_HF_CONV1D && t->n_dims == 2;

    dims[0] = t->dims[swap ? 1 : 0];
    dims[1] = t->dims[swap ? 0 : 1];
}

/* Is any exponent all ones? */
static bool has_nonfinite(const void *data, lt_dtype dtype, size_t n)
{
    uint32_t mask = dtype == LT_F32 ? 0x7f800000u : dtype == LT_BF16 ? 0x7f80u : 0x7c00u;
    uint32_t any = 0;

    if (dtype == LT_F32)
        for (size_t i = 0; i < n; i++)
            any |= (((const uint32_t *)data)[i] & mask) == mask;
    else
        for (size_t i = 0; i < n; i++)
            any |= (((const uint16_t *)data)[i] & mask) == mask;
    return any != 0;
}

/* Names the first value that is not finite, or that does not fit into the narrow type.  Values are
 * in the order of the export. */
static lt_err fail_value(const lt_hf_stream *s, const lt_ckpt_tensor *t, const float *values,
                         size_t n, uint64_t first)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t narrow;

        if (!isfinite(values[i]))
            return lt_fail(LT_EFORMAT,
                           "%s: tensor %s: element %" PRIu64
                           " of the export is %f (--allow-nonfinite lets it pass)",
                           lt_ckpt_path(s->ckpt), t->name, first + i, (double)values[i]);
        lt_convert(&narrow, s->dtype == LT_F32 ? LT_BF16 : s->dtype, &values[i], LT_F32, 1);
        if (s->dtype != LT_F32 && has_nonfinite(&narrow, s->dtype, 1))
            return lt_fail(LT_EMISMATCH,
                           "%s: tensor %s: element %" PRIu64
                           " of the export is %g, which does not fit into %s",
                           lt_ckpt_path(s->ckpt), t->name, first + i, (double)values[i],
                           lt_dtype_name(s->dtype));
    }
    LT_BUG_ON(true);
}

/* Judges, narrows into `spare` and writes n values. */
static lt_err put(lt_hf_stream *s, lt_safetensors_writer *w, const lt_ckpt_tensor *t,
                  const float *values, size_t n, uint64_t first, void *spare)
{
    size_t bytes = n * lt_dtype_bytes(s->dtype);
    const void *out = values;
    lt_err err;

    if (s->dtype != LT_F32) {
        lt_convert(spare, s->dtype, values, LT_F32, n);
        out = spare;
    }
    /* A value that is not finite stays so when narrowed:
     * one look at the result sees both faults. */
    if (!s->allow_nonfinite && has_nonfinite(out, s->dtype, n))
        return fail_value(s, t, values, n, first);
    LT_TRY(err = lt_safetensors_writer_write(w, out, bytes));
    s->done += bytes;
    if (s->watch && s->watch->progress)
        s->watch->progress(s->watch, s->done, s->total);
fail:
    return err;
}

static lt_err put_linear(lt_hf_stream *s, lt_safetensors_writer *w, const lt_ckpt_tensor *t)
{
    uint64_t total = lt_ckpt_tensor_count(t);
    lt_err err;

    for (uint64_t at = 0, n; at < total; at += n) {
        n = total - at < TILE_ELEMENTS ? total - at : TILE_ELEMENTS;
        LT_TRY(err = lt_ckpt_read(s->ckpt, LT_CKPT_WEIGHTS, t->name, at, n, s->tile, LT_F32));
        LT_TRY(err = put(s, w, t, s->tile, (size_t)n, at, s->stage));
    }
    return LT_OK;
fail:
    return err;
}

/* out (k, rows) = in (rows, k) transposed, in squares that fit the cache. */
static void transpose(float *out, const float *in, uint64_t rows, uint64_t k)
{
    for (uint64_t r0 = 0; r0 < rows; r0 += SQUARE)
        for (uint64_t c0 = 0; c0 < k; c0 += SQUARE)
            for (uint64_t c = c0; c < c0 + SQUARE && c < k; c++)
                for (uint64_t r = r0; r < r0 + SQUARE && r < rows; r++)
                    out[c * rows + r] = in[r * k + c];
}

static lt_err put_conv1d(lt_hf_stream *s, lt_safetensors_writer *w, const lt_ckpt_tensor *t)
{
    uint64_t rows = t->dims[0], cols = t->dims[1], width = TILE_ELEMENTS / rows;
    lt_err err;

    if (width == 0)
        return lt_fail(LT_ENOTSUP, "%s: tensor %s: a conv1d tensor of more than %d rows",
                       lt_ckpt_path(s->ckpt), t->name, TILE_ELEMENTS);
    for (uint64_t c0 = 0, k; c0 < cols; c0 += k) {
        k = cols - c0 < width ? cols - c0 : width;
        if (k == cols)
            LT_TRY(err = lt_ckpt_read(s->ckpt, LT_CKPT_WEIGHTS, t->name, 0, rows * cols, s->tile,
                                      LT_F32));
        for (uint64_t r = 0; r < rows && k < cols; r++)
            LT_TRY(err = lt_ckpt_read(s->ckpt, LT_CKPT_WEIGHTS, t->name, r * cols + c0, k,
                                      s->tile + r * k, LT_F32));
        transpose(s->stage, s->tile, rows, k);
        LT_TRY(err = put(s, w, t, s->stage, (size_t)(rows * k), c0 * rows, s->tile));
    }
    return LT_OK;
fail:
    return err;
}

lt_err lt_hf_stream_tensor(lt_hf_stream *s, lt_safetensors_writer *w, const lt_ckpt_tensor *t)
{
    if (t->layout == LT_HF_CONV1D && t->n_dims == 2)
        return put_conv1d(s, w, t);
    return put_linear(s, w, t);
}
