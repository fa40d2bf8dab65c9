/* Import, save by any number of ranks, export: the bytes that transformers wrote come back. */
#include "hf_fixture.h"

#include "base/json.h"
#include "ckpt/checkpoint_dir.h"
#include "ckpt/hf_export_files.h"
#include "ckpt/safetensors.h"
#include "save_fixture.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static char *data_path(const char *name)
{
    return lt_strdup(lt_test_data(name));
}

/* The checkpoint at `dir`, exported to `out`. */
static lt_err export_to(const char *dir, const char *out, lt_hf_export_options o,
                        lt_hf_export_report *r)
{
    lt_ckpt *c = NULL;
    char *path = NULL;
    bool chosen;
    lt_err err;

    LT_TRY(err = lt_ckpt_resolve(dir, &path, &chosen));
    LT_TRY(err = lt_ckpt_open(&c, path));
    LT_TRY(err = lt_hf_export(c, out, &o, NULL, r));
fail:
    lt_ckpt_close(c);
    free(path);
    return err;
}

/* Is FOLDER/NAME the same in both folders? */
static bool same_file(const char *a, const char *b, const char *name)
{
    char *x = lt_path_join(a, name), *y = lt_path_join(b, name);
    bool same = same_bytes(x, y);

    free(x);
    free(y);
    return same;
}

/* The same members in the same order; 1e-5 may be written 1e-05. */
static bool same_json(const char *a, const char *b, const char *name)
{
    char *x = lt_path_join(a, name), *y = lt_path_join(b, name);
    json_t *p = NULL, *q = NULL;
    bool same = lt_json_load(&p, x, 1 << 20) == LT_OK && lt_json_load(&q, y, 1 << 20) == LT_OK;
    char *s = same ? json_dumps(p, 0) : NULL, *t = same ? json_dumps(q, 0) : NULL;

    same = s && t && strcmp(s, t) == 0;
    json_decref(p);
    json_decref(q);
    free(s);
    free(t);
    free(x);
    free(y);
    return same;
}

LT_TEST(hf_export_returns_the_bytes_of_transformers)
{
    char *folder = data_path("ckpt/tiny-gpt2");

    for (uint32_t world = 1; world <= 7; world += 3) {
        char name[32], dir[512], out[600];
        hf_fixture f;
        lt_hf_export_report r = { 0 };

        snprintf(name, sizeof name, "export-%u", world);
        snprintf(dir, sizeof dir, "%s", lt_test_tmp(name));
        snprintf(out, sizeof out, "%s-out/", dir);
        LT_CHECK_OK(hf_fixture_open(&f, folder));
        LT_CHECK_OK(hf_fixture_save(&f, dir, 12, world));
        LT_CHECK_OK(export_to(dir, out, (lt_hf_export_options){ .dtype = LT_F32 }, &r));
        LT_CHECK(same_file(folder, out, "model.safetensors"));
        LT_CHECK(same_json(folder, out, "config.json"));
        LT_CHECK(same_file(folder, out, "generation_config.json"));
        LT_CHECK(same_file(folder, out, "tokenizer.json"));
        LT_CHECK_INT(r.n_files, 1);
        LT_CHECK_INT(r.n_elements, f.table->n_elements);
        hf_fixture_release(&f);
    }
    free(folder);
}

/* Committed files of the first version: they load for ever. */
LT_TEST(hf_export_reads_the_golden_checkpoint)
{
    char *folder = data_path("ckpt/tiny-gpt2"), *golden = data_path("ckpt/golden"), out[512];

    snprintf(out, sizeof out, "%s", lt_test_tmp("golden-out"));
    LT_CHECK_OK(export_to(golden, out, (lt_hf_export_options){ .dtype = LT_F32 }, NULL));
    LT_CHECK(same_file(folder, out, "model.safetensors"));
    free(folder);
    free(golden);
}

/* LT_WRITE_GOLDEN=tests/data/ckpt/golden test_hf_export writes_the_golden writes it anew. */
LT_TEST(hf_export_writes_the_golden_checkpoint)
{
    const char *where = getenv("LT_WRITE_GOLDEN");
    hf_fixture f;

    if (!where) {
        lt_test_skip("LT_WRITE_GOLDEN is not set");
        return;
    }
    LT_CHECK_OK(hf_fixture_open(&f, lt_test_data("ckpt/tiny-gpt2")));
    LT_CHECK_OK(hf_fixture_save(&f, where, 12, 2));
    hf_fixture_release(&f);
}

/* Both models hold the same values, up to the rounding of `dtype`. */
static bool same_model(const hf_fixture *a, const hf_fixture *b, lt_dtype dtype)
{
    bool same = a->table->n_params == b->table->n_params;

    for (int i = 0; i < a->table->n_params && same; i++) {
        size_t n = (size_t)a->table->params[i].count;
        float *x = lt_new_array0(n, sizeof *x), *y = lt_new_array0(n, sizeof *y);
        uint16_t narrow;

        same = lt_hf_model_read(a->model, &a->table->params[i], 0, n, x) == LT_OK &&
               lt_hf_model_read(b->model, &b->table->params[i], 0, n, y) == LT_OK;
        for (size_t k = 0; k < n && same; k++) {
            if (dtype != LT_F32) {
                lt_convert(&narrow, dtype, &x[k], LT_F32, 1);
                lt_convert(&x[k], LT_F32, &narrow, dtype, 1);
            }
            same = x[k] == y[k];
        }
        free(x);
        free(y);
    }
    return same;
}

LT_TEST(hf_export_shards_and_narrows)
{
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_F16 };
    static const char *const torch[] = { "float32", "bfloat16", "float16" };
    char *golden = data_path("ckpt/golden");

    for (size_t k = 0; k < LT_COUNT(types); k++) {
        const lt_hf_export_options o = { .dtype = types[k], .max_shard_bytes = 2400 };
        char out[512], name[32];
        lt_hf_export_report r;
        hf_fixture before, after;
        json_t *config = NULL;

        snprintf(name, sizeof name, "shards-%zu", k);
        snprintf(out, sizeof out, "%s", lt_test_tmp(name));
        LT_CHECK_OK(export_to(golden, out, o, &r));
        LT_CHECK(r.n_files > 3);
        LT_CHECK_INT(r.data_bytes, r.n_elements * lt_dtype_bytes(types[k]));
        LT_CHECK_OK(hf_fixture_open(&before, lt_test_data("ckpt/tiny-gpt2")));
        LT_CHECK_OK(hf_fixture_open(&after, out)); /* through the index */
        LT_CHECK(same_model(&before, &after, types[k]));
        LT_CHECK_OK(lt_json_parse(&config, after.blobs[0].data, after.blobs[0].size, "c"));
        LT_CHECK_STR(json_string_value(json_object_get(config, "dtype")), torch[k]);
        json_decref(config);
        hf_fixture_release(&before);
        hf_fixture_release(&after);
    }
    free(golden);
}

/* One tensor of n_dims dimensions into DIR/step-00000001, with a minimal config.json. */
static lt_err save_tensor(const char *dir, lt_ckpt_tensor t, const float *data)
{
    static const char config[] = "{\"n_positions\": 16, \"layer_norm_epsilon\": 1e-05}";
    const lt_ckpt_slice s = { LT_CKPT_WEIGHTS, t.name, LT_F32, 0, lt_ckpt_tensor_count(&t), data };
    const lt_ckpt_blob blob = { "config.json", config, sizeof config - 1 };
    const lt_ckpt_save_request rq = { .step = { 1, 0, 0, "r" },
                                      .tensors = &t,
                                      .n_tensors = 1,
                                      .slices = &s,
                                      .n_slices = 1,
                                      .blobs = &blob,
                                      .n_blobs = 1,
                                      .world = 1 };

    return save_alone(dir, &rq, NULL);
}

/* Larger than a buffer, so it leaves in several tiles of columns. */
LT_TEST(hf_export_transposes_in_tiles)
{
    enum { ROWS = 4100, COLS = 2500 };
    float *data = lt_new_array0((size_t)ROWS * COLS, sizeof *data), *got;
    char dir[512], out[512], path[600];
    lt_safetensors *s = NULL;
    const lt_safetensor *t;

    for (size_t i = 0; i < (size_t)ROWS * COLS; i++)
        data[i] = (float)(i % 16777213);
    snprintf(dir, sizeof dir, "%s", lt_test_tmp("tiles"));
    snprintf(out, sizeof out, "%s", lt_test_tmp("tiles-out"));
    LT_CHECK_OK(save_tensor(
        dir, (lt_ckpt_tensor){ "w", LT_F32, 2, { ROWS, COLS }, LT_HF_CONV1D, true }, data));
    LT_CHECK_OK(export_to(dir, out, (lt_hf_export_options){ .dtype = LT_F32 }, NULL));
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    LT_CHECK_OK(lt_safetensors_open(&s, path));
    t = lt_safetensors_find(s, "w");
    LT_CHECK(t && t->dims[0] == COLS && t->dims[1] == ROWS);
    got = lt_new_array0((size_t)ROWS * COLS, sizeof *got);
    LT_CHECK_OK(lt_safetensors_read(s, t, 0, t->count, got, LT_F32));
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < COLS; c++)
            LT_CHECK(got[c * ROWS + r] == data[r * COLS + c]);
    lt_safetensors_close(s);
    LT_CHECK_OK(lt_remove_tree(dir));
    free(got);
    free(data);
}

LT_TEST(hf_export_names_values_that_must_not_leave)
{
    static const struct {
        float value;
        lt_dtype dtype;
        lt_err code;
        const char *part;
    } cases[] = {
        { NAN, LT_F32, LT_EFORMAT, "tensor w: element 5 of the export is nan" },
        { -INFINITY, LT_F32, LT_EFORMAT, "tensor w: element 5 of the export is -inf" },
        { INFINITY, LT_BF16, LT_EFORMAT, "tensor w: element 5 of the export is inf" },
        { NAN, LT_F16, LT_EFORMAT, "is nan" },
        { 70000, LT_F16, LT_EMISMATCH,
          "element 5 of the export is 70000, which does not fit into fp16" },
        { 3.4e38f, LT_BF16, LT_EMISMATCH, "does not fit into bf16" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        float data[6] = { 0, 1, 2, 3, 4, cases[i].value };
        lt_hf_export_options o = { .dtype = cases[i].dtype };
        char dir[512], out[512];

        snprintf(dir, sizeof dir, "%s", lt_test_tmp("values"));
        snprintf(out, sizeof out, "%s", lt_test_tmp("values-out"));
        LT_CHECK_OK(save_tensor(
            dir, (lt_ckpt_tensor){ "w", LT_F32, 2, { 2, 3 }, LT_HF_CONV1D, true }, data));
        LT_CHECK_FAILS(export_to(dir, out, o, NULL), cases[i].code, cases[i].part);
        LT_CHECK(!lt_path_exists(out));
        o.allow_nonfinite = true;
        LT_CHECK_OK(export_to(dir, out, o, NULL));
        LT_CHECK_OK(lt_remove_tree(out));
    }
}

LT_TEST(hf_export_replaces_only_model_folders)
{
    const lt_hf_export_options plain = { .dtype = LT_F32 },
                               force = { .dtype = LT_F32, .force = true };
    char *golden = data_path("ckpt/golden");
    char out[512], path[600];

    snprintf(out, sizeof out, "%s", lt_test_tmp("target"));
    LT_CHECK(mkdir(out, 0700) == 0);
    LT_CHECK_OK(export_to(golden, out, plain, NULL)); /* an empty folder is as good as none */
    LT_CHECK_FAILS(export_to(golden, out, plain, NULL), LT_EIO, "exists; --force replaces it");
    snprintf(path, sizeof path, "%s/stale", out);
    LT_CHECK_OK(lt_file_write_atomic(path, "x", 1));
    LT_CHECK_OK(export_to(golden, out, force, NULL));
    LT_CHECK(!lt_path_exists(path)); /* replaced, not merged */
    snprintf(path, sizeof path, "%s/folder", out);
    LT_CHECK(mkdir(path, 0700) == 0);
    LT_CHECK_FAILS(export_to(golden, out, force, NULL), LT_EIO,
                   "does not look like an exported model");
    LT_CHECK(rmdir(path) == 0);
    snprintf(path, sizeof path, "%s/MANIFEST", out); /* never a checkpoint */
    LT_CHECK_OK(lt_file_write_atomic(path, "x", 1));
    LT_CHECK_FAILS(export_to(golden, out, force, NULL), LT_EIO,
                   "does not look like an exported model");
    LT_CHECK(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/config.json", out);
    LT_CHECK_FAILS(export_to(golden, path, force, NULL), LT_EIO, "is not a folder");
    free(golden);
}

LT_TEST(hf_export_of_a_damaged_checkpoint_leaves_nothing)
{
    float data[2] = { 1, 2 };
    char dir[512], out[512], path[700];
    FILE *f;

    snprintf(dir, sizeof dir, "%s", lt_test_tmp("damaged"));
    snprintf(out, sizeof out, "%s", lt_test_tmp("damaged-out"));
    LT_CHECK_OK(
        save_tensor(dir, (lt_ckpt_tensor){ "w", LT_F32, 1, { 2, 0 }, LT_HF_LINEAR, true }, data));
    snprintf(path, sizeof path, "%s/step-00000001/weights-00000.safetensors", dir);
    f = fopen(path, "r+b");
    LT_CHECK(f && fseek(f, -1, SEEK_END) == 0 && fputc(0x11, f) == 0x11 && fclose(f) == 0);
    LT_CHECK_FAILS(export_to(dir, out, (lt_hf_export_options){ .dtype = LT_F32 }, NULL), LT_EFORMAT,
                   "weights-00000.safetensors: damaged in block 0");
    LT_CHECK(!lt_path_exists(out));
    snprintf(path, sizeof path, "%s.tmp.%ld", out, (long)getpid());
    LT_CHECK(!lt_path_exists(path));
}

LT_TEST(hf_export_tells_transformers_about_the_tokenizer)
{
    static const char text[] =
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":3,\"content\":\"<pad>\"},"
        "{\"special\":true,\"content\":\"<|end \\u00e9|>\",\"id\":7}],\"model\":{}}";
    char token[64], small[4], out[512], path[600];
    char *golden = data_path("ckpt/golden");
    json_t *doc = NULL;

    LT_CHECK_OK(lt_hf_added_token(text, sizeof text - 1, "t", 7, token, sizeof token));
    LT_CHECK_STR(token, "<|end \xc3\xa9|>");
    LT_CHECK_OK(lt_hf_added_token(text, sizeof text - 1, "t", 4, token, sizeof token));
    LT_CHECK_STR(token, "");
    LT_CHECK_OK(lt_hf_added_token(text, sizeof text - 1, "t", 7, small, sizeof small));
    LT_CHECK_STR(small, "");
    LT_CHECK_FAILS(lt_hf_added_token("{\"added_tokens\":[1]}", 20, "t", 7, token, sizeof token),
                   LT_EFORMAT, "t: byte 17: expected '{'");
    snprintf(out, sizeof out, "%s", lt_test_tmp("tokenizer-out"));
    LT_CHECK_OK(export_to(golden, out, (lt_hf_export_options){ .dtype = LT_F32 }, NULL));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", out);
    LT_CHECK_OK(lt_json_load(&doc, path, 1 << 20));
    LT_CHECK_STR(json_string_value(json_object_get(doc, "tokenizer_class")),
                 "PreTrainedTokenizerFast");
    LT_CHECK_STR(json_string_value(json_object_get(doc, "eos_token")), "<|endoftext|>");
    LT_CHECK_INT(json_integer_value(json_object_get(doc, "model_max_length")), 16);
    json_decref(doc);
    free(golden);
}
