/* init.c - lt-bench init: the weights that a run of lt-train starts from, as a Hugging Face folder.
 *
 * A pure function of model and training.seed, so nothing is trained and no device is opened.  With
 * it another program, or lt-train in another precision, starts from one file. */
#include "base/file.h"
#include "base/log.h"
#include "bench.h"
#include "ckpt/safetensors_writer.h"
#include "param/param_table.h"

#include <stdlib.h>

typedef struct init_args {
    const char *out;
} init_args;

static const lt_option options[] = {
    { "out", 'o', LT_OPT_STRING, offsetof(init_args, out), "DIR",
      "write config.json and model.safetensors here" },
    { 0 },
};

const lt_command bench_init_command = {
    "lt-bench init",
    "CONFIG.yaml [--section.key=value...] -o DIR",
    "write the weights that a run starts from",
    "In fp32, under Hugging Face's names.  lt-train --model.path=DIR --model.name=null starts from\n"
    "them and computes what it computes without.",
    options,
};

/* Hugging Face stores a conv1d matrix as (in, out). */
static void transpose(float *out, const float *in, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            out[c * rows + r] = in[r * cols + c];
}

static void declare(lt_safetensors_writer *w, const lt_param *p)
{
    bool turned = p->layout == LT_HF_CONV1D && p->n_dims == 2;
    uint64_t rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;
    const uint64_t dims[2] = { turned || p->n_dims == 1 ? cols : rows, turned ? rows : cols };

    lt_safetensors_writer_declare(w, p->name, LT_F32, p->n_dims, dims);
}

static lt_err write_param(lt_safetensors_writer *w, const lt_param_table *t,
                          const lt_model_config *m, int index, uint64_t seed)
{
    const lt_param *p = &t->params[index];
    float *values = NULL, *turned = NULL;
    lt_err err;

    LT_TRY(err = lt_alloc_array(&values, (uint64_t)p->count, sizeof *values, p->name));
    lt_param_init_slice(t, m, index, seed, 0, p->count, values);
    if (p->layout == LT_HF_CONV1D && p->n_dims == 2) {
        LT_TRY(err = lt_alloc_array(&turned, (uint64_t)p->count, sizeof *turned, p->name));
        transpose(turned, values, p->rows, p->cols);
    }
    err =
        lt_safetensors_writer_write(w, turned ? turned : values, (size_t)p->count * sizeof *values);
fail:
    free(values);
    free(turned);
    return err;
}

static lt_err write_weights(const char *path, const lt_model_config *m, uint64_t seed)
{
    lt_param_table *t = lt_param_table_new(m);
    lt_safetensors_writer *w = NULL;
    lt_err err;

    LT_TRY(err = lt_safetensors_writer_open(&w, path));
    lt_safetensors_writer_metadata(w, "format", "pt");
    for (int i = 0; i < t->n_params; i++)
        declare(w, &t->params[i]);
    LT_TRY(err = lt_safetensors_writer_begin(w));
    for (int i = 0; i < t->n_params; i++) {
        lt_log_progress("%s", t->params[i].name);
        LT_TRY(err = write_param(w, t, m, i, seed));
    }
    err = lt_safetensors_writer_commit(w, NULL);
    w = NULL;
fail:
    lt_log_progress_end();
    lt_safetensors_writer_abort(w);
    lt_param_table_free(t);
    return err;
}

static lt_err write_folder(const char *dir, const lt_config *c)
{
    char *weights = lt_path_join(dir, "model.safetensors"),
         *json = lt_path_join(dir, "config.json");
    lt_buf text = { 0 };
    lt_err err;

    if (lt_path_exists(weights) || lt_path_exists(json)) {
        err = lt_fail(LT_EUSAGE, "%s is there already", lt_path_exists(weights) ? weights : json);
        goto fail;
    }
    LT_TRY(err = lt_mkdirs(dir));
    lt_model_config_to_hf(&text, &c->model.dims, "float32");
    LT_TRY(err = lt_file_write_atomic(json, text.data, text.size));
    LT_TRY(err = write_weights(weights, &c->model.dims, (uint64_t)c->training.seed));
fail:
    lt_buf_release(&text);
    free(weights);
    free(json);
    return err;
}

lt_err bench_init(int argc, char **argv)
{
    init_args args = { 0 };
    lt_config *config = NULL;
    lt_err err;

    LT_TRY(err = bench_options_config(&bench_init_command, argc, argv, &args, &config));
    if (!config)
        goto fail;
    if (!args.out)
        err = lt_fail(LT_EUSAGE, "init: -o DIR is missing");
    else if (config->model.path[0])
        err = lt_fail(LT_EUSAGE, "init: model.path: this model starts from the weights in %s",
                      config->model.path);
    else
        err = write_folder(args.out, config);
fail:
    lt_config_free(config);
    return err;
}
