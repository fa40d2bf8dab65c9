/* Hugging Face folders: names with and without prefix, indexed files, and what does not fit. */
#include "hf_fixture.h"

#include "ckpt/safetensors.h"
#include "ckpt/safetensors_writer.h"

#include <unistd.h>

static lt_param_table *tiny_table(void)
{
    const lt_model_config m = { .family = LT_FAMILY_GPT2,
                                .vocab_size = 4,
                                .n_positions = 2,
                                .n_layer = 1,
                                .n_embd = 2,
                                .n_head = 1,
                                .n_kv_head = 1,
                                .head_dim = 2,
                                .n_inner = 8,
                                .tied = true };
    return lt_param_table_new(&m);
}

/* What a written folder deviates in. */
typedef struct variation {
    bool bare;           /* names without "transformer." */
    int files;           /* 1, or more with an index */
    const char *skip;    /* tensor left out */
    const char *reshape; /* tensor with an odd shape */
    const char *extra;   /* tensor added, fp32 [1] */
    lt_dtype dtype;
} variation;

static float stored_value(int param, uint64_t i)
{
    return (float)(param * 64) + (float)i;
}

static void stored_dims(const lt_param *p, uint64_t dims[2])
{
    bool swap = p->layout == LT_HF_CONV1D;

    dims[0] = (uint64_t)(p->n_dims == 1 || swap ? p->cols : p->rows);
    dims[1] = (uint64_t)(swap ? p->rows : p->cols);
}

static lt_err write_one(const lt_param_table *t, const variation *v, const char *path, int file,
                        lt_buf *map)
{
    lt_safetensors_writer *w = NULL;
    lt_err err;

    LT_TRY(err = lt_safetensors_writer_open(&w, path));
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < t->n_params; i++) {
            const lt_param *p = &t->params[i];
            const char *name = p->name + (v->bare ? strlen("transformer.") : 0);
            uint64_t dims[2];
            uint8_t out[512];

            stored_dims(p, dims);
            if (i % v->files != file || (v->skip && strcmp(p->name, v->skip) == 0))
                continue;
            if (pass == 0) {
                if (v->reshape && strcmp(p->name, v->reshape) == 0) {
                    dims[0] *= 2;
                    (void)lt_safetensors_writer_declare(w, name, LT_F16, p->n_dims, dims);
                } else {
                    (void)lt_safetensors_writer_declare(w, name, v->dtype, p->n_dims, dims);
                }
                lt_buf_printf(map, "%s\"%s\": \"part-%d.safetensors\"", map->size ? ", " : "", name,
                              file);
                continue;
            }
            for (int64_t k = 0; k < p->count; k++) {
                float value = stored_value(i, (uint64_t)k);

                lt_convert(out + (size_t)k * lt_dtype_bytes(v->dtype), v->dtype, &value, LT_F32, 1);
            }
            LT_TRY(err = lt_safetensors_writer_write(w, out,
                                                     (size_t)p->count * lt_dtype_bytes(v->dtype)));
        }
        if (v->extra && file == 0) {
            if (pass == 0)
                (void)lt_safetensors_writer_declare(w, v->extra, LT_F32, 1,
                                                    (const uint64_t[]){ 1 });
            else
                LT_TRY(err = lt_safetensors_writer_write(w, "abcd", 4));
        }
        if (pass == 0)
            LT_TRY(err = lt_safetensors_writer_begin(w));
    }
    err = lt_safetensors_writer_commit(w, NULL);
    w = NULL;
fail:
    lt_safetensors_writer_abort(w);
    return err;
}

/* A folder with that variation; its model is opened and checked. */
static lt_err open_variation(const variation *v, lt_hf_model **out, const lt_param_table *t)
{
    static int serial;
    char folder[512], path[600];
    lt_buf map = { 0 }, text = { 0 };
    lt_err err;

    snprintf(path, sizeof path, "hf-%d", serial++);
    snprintf(folder, sizeof folder, "%s", lt_test_tmp(path));
    LT_TRY(err = lt_mkdirs(folder));
    for (int file = 0; file < v->files; file++) {
        snprintf(path, sizeof path, "%s/part-%d.safetensors", folder, file);
        if (v->files == 1)
            snprintf(path, sizeof path, "%s/model.safetensors", folder);
        LT_TRY(err = write_one(t, v, path, file, &map));
    }
    if (v->files > 1) {
        lt_buf_printf(&text, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {%s}}", map.data);
        snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
        LT_TRY(err = lt_file_write_atomic(path, text.data, text.size));
    }
    LT_TRY(err = lt_hf_model_open(out, folder));
    LT_TRY(err = lt_hf_model_check(*out, t));
fail:
    lt_buf_release(&map);
    lt_buf_release(&text);
    return err;
}

static void check_reads(const variation *v)
{
    lt_param_table *t = tiny_table();
    lt_hf_model *m = NULL;

    LT_CHECK_OK(open_variation(v, &m, t));
    for (int i = 0; i < t->n_params; i++) {
        const lt_param *p = &t->params[i];

        for (int64_t first = 0; first <= p->count; first++) {
            float got[64];
            int64_t n = (p->count - first + 1) / 2;

            LT_CHECK_OK(lt_hf_model_read(m, p, (uint64_t)first, (uint64_t)n, got));
            for (int64_t k = 0; k < n; k++) {
                uint64_t e = (uint64_t)(first + k), r = e / (uint64_t)p->cols,
                         c = e % (uint64_t)p->cols;
                uint64_t at = p->layout == LT_HF_CONV1D ? c * (uint64_t)p->rows + r : e;

                LT_CHECK(got[k] == stored_value(i, at));
            }
        }
    }
    lt_hf_model_close(m);
    lt_param_table_free(t);
}

LT_TEST(hf_model_reads_every_range)
{
    check_reads(&(variation){ .files = 1, .dtype = LT_F32 });
    check_reads(&(variation){ .files = 1, .dtype = LT_F32, .bare = true });
    check_reads(&(variation){ .files = 3, .dtype = LT_F16 });
    check_reads(&(variation){ .files = 2, .dtype = LT_F32, .bare = true });
}

LT_TEST(hf_model_passes_over_buffers_and_the_tied_head)
{
    check_reads(&(variation){ .files = 1, .dtype = LT_F32, .extra = "transformer.h.0.attn.bias" });
    check_reads(&(variation){ .files = 2, .dtype = LT_F32, .extra = "h.0.attn.masked_bias" });
    check_reads(&(variation){ .files = 1, .dtype = LT_F32, .extra = "lm_head.weight" });
}

LT_TEST(hf_model_names_what_does_not_fit)
{
    static const struct {
        variation v;
        const char *part;
    } cases[] = {
        { { .files = 1, .skip = "transformer.ln_f.bias" },
          "tensor transformer.ln_f.bias is missing" },
        { { .files = 2, .skip = "transformer.wte.weight" },
          "tensor transformer.wte.weight is missing" },
        { { .files = 1, .extra = "score.weight" },
          "tensor score.weight does not belong to this model" },
        { { .files = 1, .bare = true, .extra = "transformer.ln_f.bias" },
          "expected shape [2], found [1]" },
        { { .files = 1, .reshape = "transformer.h.0.mlp.c_fc.weight" },
          "model.safetensors: tensor transformer.h.0.mlp.c_fc.weight: "
          "expected shape [2, 8], found [4, 8]" },
        { { .files = 1, .dtype = LT_I32 }, "expected dtype F32, F16 or BF16, found I32" },
    };
    lt_param_table *t = tiny_table();

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_hf_model *m = NULL;

        LT_CHECK_FAILS(open_variation(&cases[i].v, &m, t), LT_EMISMATCH, cases[i].part);
        lt_hf_model_close(m);
    }
    lt_param_table_free(t);
}

LT_TEST(hf_index_accepts_plain_names_only)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        { "{\"weight_map\":{\"a\":\"../x\"}}", "\"../x\" is not a plain file name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\"x\\\\y\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\".\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\"\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\"f\",\"a\":\"g\"}}", "tensor a stands twice" },
        { "{\"weight_map\":{}}", "weight_map is empty" },
        { "{\"weight_map\":{\"a\":\"f\"},\"weight_map\":{}}", "stands twice" },
        { "{\"metadata\":{}}", "no weight_map" },
        { "{\"weight_map\":[]}", "expected '{'" },
        { "", "found the end" },
    };
    lt_hf_index index = { 0 };
    const char *good =
        "{\"metadata\":{\"x\":[1,{}]},\"weight_map\":{\"b\":\"g\",\"a\":\"f\",\"c\":\"g\"}} ";

    for (size_t i = 0; i < LT_COUNT(cases); i++)
        LT_CHECK_FAILS(lt_hf_index_parse(&index, cases[i].text, strlen(cases[i].text), "i"),
                       LT_EFORMAT, cases[i].part);
    LT_CHECK_OK(lt_hf_index_parse(&index, good, strlen(good), "i"));
    LT_CHECK_INT(index.n_files, 2);
    LT_CHECK_INT(index.n_entries, 3);
    LT_CHECK_STR(index.entries[0].tensor, "a");
    LT_CHECK_STR(index.files[index.entries[0].file], "f");
    lt_hf_index_release(&index);
}

LT_TEST(hf_model_open_says_what_it_looked_for)
{
    lt_hf_model *m = NULL;

    LT_CHECK_FAILS(lt_hf_model_open(&m, lt_test_tmp("nowhere")), LT_ENOENT,
                   "holds neither model.safetensors nor its index.json");
}
