/* golden.c - lt-bench golden: a reference model's numbers against ours.
 *
 * A folder holds config.json, model.safetensors and golden.safetensors (input_ids, labels, logits,
 * loss, grad.NAME, train.loss, final.NAME; hyperparameters in its metadata).  The error of a tensor
 * is |a - b| / max(|b|, 1e-6 * global gradient norm), in Euclidean norms. */
#include "base/file.h"
#include "base/log.h"
#include "bench.h"
#include "bench_ranks.h"
#include "bench_zero.h"
#include "ckpt/safetensors.h"
#include "train/rank_life.h"
#include "train/ranks.h"
#include "train/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden_args {
    const char *device, *precision, *recompute;
    lt_dtype act;      /* of precision */
    lt_recompute keep; /* of recompute */
    double bound, bound_final;
    int64_t threads;
    bench_zero zero;
    bool json, all;
    lt_group *group;
} golden_args;

static const lt_option options[] = {
    { "device", 0, LT_OPT_STRING, offsetof(golden_args, device), "NAME",
      "auto, cpu or cuda (default cpu)" },
    { "precision", 0, LT_OPT_STRING, offsetof(golden_args, precision), "TYPE",
      "fp32, bf16 or fp16 (default fp32)" },
    { "recompute", 0, LT_OPT_STRING, offsetof(golden_args, recompute), "KIND",
      "none, selective or block (default none)" },
    { "bound", 0, LT_OPT_REAL, offsetof(golden_args, bound), "X",
      "largest error of logits, loss, gradients and the ten losses (default 1e-5; 16-bit 2e-2)",
      1e-12, 1 },
    { "bound-final", 0, LT_OPT_REAL, offsetof(golden_args, bound_final), "X",
      "largest error of the weights after ten steps (default 10 * bound)", 1e-12, 1 },
    { "threads", 0, LT_OPT_INT, offsetof(golden_args, threads), "N", "CPU threads (default all)", 0,
      4096 },
    BENCH_ZERO_OPTIONS(golden_args, zero),
    { "all", 'a', LT_OPT_FLAG, offsetof(golden_args, all), NULL,
      "a row for every tensor, not the worst ten" },
    { "json", 0, LT_OPT_FLAG, offsetof(golden_args, json), NULL, "one JSON object a folder" },
    { 0 },
};

const lt_command bench_golden_command = { "lt-bench golden", "[options] DIR...",
                                          "compare with reference models, exit 1 over a bound",
                                          NULL, options };

typedef struct row {
    char name[160];
    double error, bound;
} row;

typedef struct golden {
    const golden_args *args;
    const char *folder;
    lt_model_config config;
    lt_safetensors *ref;
    lt_engine *engine;
    int32_t *ids, *targets, *positions; /* all sequences, padded to rank_batch * world */
    int64_t n_batch, seq, n_tokens;
    int64_t rank_batch; /* sequences of a rank; missing ones are masked */
    double global_norm;
    row *rows;
    size_t n_rows, capacity;
} golden;

static void add_row(golden *g, double error, double bound, const char *kind, const char *name)
{
    row *r;

    lt_array_reserve(&g->rows, &g->capacity, g->n_rows + 1, sizeof *g->rows);
    r = &g->rows[g->n_rows++];
    snprintf(r->name, sizeof r->name, "%s%s", kind, name);
    r->error = error;
    r->bound = bound;
}

static double error_of(const golden *g, const double *a, const double *b, size_t n)
{
    double diff = 0, norm = 0, floor = 1e-6 * g->global_norm;

    for (size_t i = 0; i < n; i++) {
        diff += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    norm = sqrt(norm);
    return sqrt(diff) / (norm > floor ? norm : floor);
}

static lt_err read_ref(const golden *g, const char *name, double **out, uint64_t *n)
{
    const lt_safetensor *t = lt_safetensors_find(g->ref, name);
    lt_err err;

    if (!t)
        return lt_fail(LT_EMISMATCH, "%s: no tensor %s", lt_safetensors_path(g->ref), name);
    LT_TRY(err = lt_alloc_array(out, t->count, sizeof **out, name));
    *n = t->count;
    err = lt_safetensors_read(g->ref, t, 0, t->count, *out, LT_F64);
fail:
    return err;
}

static double metadata(const golden *g, const char *key, double otherwise)
{
    const char *text = lt_safetensors_metadata(g->ref, key);
    double value;

    return text && lt_parse_real(text, &value) == LT_OK ? value : otherwise;
}

static lt_err check_id(const golden *g, const char *name, uint64_t i, double id)
{
    if (id >= 0 && id < (double)g->config.vocab_size)
        return LT_OK;
    return lt_fail(LT_EMISMATCH, "%s: %s[%llu]: id %g, the vocabulary has %lld",
                   lt_safetensors_path(g->ref), name, (unsigned long long)i, id,
                   (long long)g->config.vocab_size);
}

/* labels are shifted inside the reference: position t predicts label t + 1 */
static lt_err read_batch(golden *g)
{
    const lt_safetensor *t = lt_safetensors_find(g->ref, "input_ids");
    double *ids = NULL, *labels = NULL;
    uint64_t n;
    int64_t room;
    lt_err err;

    if (!t || t->n_dims != 2)
        return lt_fail(LT_EMISMATCH, "%s: no matrix input_ids", lt_safetensors_path(g->ref));
    g->n_batch = (int64_t)t->dims[0];
    g->seq = (int64_t)t->dims[1];
    LT_TRY(err = read_ref(g, "input_ids", &ids, &n));
    LT_TRY(err = read_ref(g, "labels", &labels, &n));
    if (n != t->count) {
        err = lt_fail(LT_EMISMATCH, "%s: labels: expected %llu values, found %llu",
                      lt_safetensors_path(g->ref), (unsigned long long)t->count,
                      (unsigned long long)n);
        goto fail;
    }
    for (uint64_t i = 0; i < n; i++) {
        LT_TRY(err = check_id(g, "input_ids", i, ids[i]));
        if (labels[i] != -100)
            LT_TRY(err = check_id(g, "labels", i, labels[i]));
    }
    g->rank_batch = (g->n_batch + g->args->group->world - 1) / g->args->group->world;
    room = g->rank_batch * g->args->group->world * g->seq;
    g->ids = lt_new_array0((size_t)room, sizeof *g->ids);
    g->targets = lt_new_array0((size_t)room, sizeof *g->targets);
    g->positions = lt_new_array0((size_t)room, sizeof *g->positions);
    for (int64_t i = 0; i < room; i++) {
        bool last = i % g->seq == g->seq - 1;

        g->positions[i] = (int32_t)(i % g->seq);
        g->targets[i] = -100;
        if (i >= (int64_t)n)
            continue;
        g->ids[i] = (int32_t)ids[i];
        g->targets[i] = last ? -100 : (int32_t)labels[i + 1];
        g->n_tokens += g->targets[i] >= 0;
    }
fail:
    free(ids);
    free(labels);
    return err;
}

static lt_err open_engine(golden *g)
{
    lt_engine_options o = {
        .config = &g->config,
        .shape = { .n_batch = g->rank_batch,
                   .seq = g->seq,
                   .act = g->args->act,
                   .grad = LT_F32,
                   .recompute = g->args->keep,
                   .uses = { [LT_USE_TRAIN] = true, [LT_USE_LOGITS] = true } },
        .device = g->args->device,
        .dev = { .n_threads = (int)g->args->threads,
                 .ordinal = g->args->group->local_rank,
                 .deterministic = true },
        .optim = { .beta1 = (float)metadata(g, "beta1", 0.9),
                   .beta2 = (float)metadata(g, "beta2", 0.999),
                   .eps = (float)metadata(g, "eps", 1e-8),
                   .weight_decay = (float)metadata(g, "weight_decay", 0),
                   .max_norm = (float)metadata(g, "grad_clip", 0),
                   .decoupled = true },
        .group = g->args->group,
        .training = true,
    };
    lt_err err;

    LT_TRY(err = bench_zero_settings(&o.zero, &g->args->zero));
    LT_TRY(err = lt_engine_open(&g->engine, &o));
    LT_TRY(err = lt_engine_load_hf(g->engine, g->folder));
fail:
    return err;
}

static lt_err compare_logits(golden *g, const lt_engine_batch *batch)
{
    int64_t rows = g->n_batch * g->seq, v = g->config.vocab_size, mine = g->rank_batch * g->seq,
            first = mine * g->args->group->rank, stride = lt_engine_vocab_rows(g->engine);
    float *logits = lt_new_array0((size_t)(mine * stride), sizeof *logits);
    double *ours = lt_new_array0((size_t)(rows * v), sizeof *ours), *ref = NULL;
    uint64_t n = 0;
    lt_err err;

    LT_TRY(err = lt_engine_logits(g->engine, batch, logits));
    LT_TRY(err = read_ref(g, "logits", &ref, &n));
    if (n != (uint64_t)(rows * v)) {
        err = lt_fail(LT_EMISMATCH, "%s: logits: expected %lld values, found %llu",
                      lt_safetensors_path(g->ref), (long long)(rows * v), (unsigned long long)n);
        goto fail;
    }
    for (int64_t r = 0; r < mine && first + r < rows; r++)
        for (int64_t i = 0; i < v; i++)
            ours[(first + r) * v + i] = (double)logits[r * stride + i];
    LT_TRY(err = lt_ranks_sum(g->args->group, ours, (int)(rows * v)));
    add_row(g, error_of(g, ours, ref, n), g->args->bound, "logits", "");
fail:
    free(logits);
    free(ours);
    free(ref);
    return err;
}

/* One tensor of the table against PREFIX.NAME; `values` are our logical elements, (out, in). */
static lt_err compare_param(golden *g, const char *prefix, const lt_param *p, const double *values,
                            double bound)
{
    char name[LT_PARAM_NAME_BYTES + 16];
    double *ref = NULL, *ours = lt_new_array0((size_t)p->count, sizeof *ours);
    uint64_t n = 0;
    lt_err err;

    snprintf(name, sizeof name, "%s.%s", prefix, p->name);
    LT_TRY(err = read_ref(g, name, &ref, &n));
    if (n != (uint64_t)p->count) {
        err =
            lt_fail(LT_EMISMATCH, "%s: %s: expected %lld values, found %llu",
                    lt_safetensors_path(g->ref), name, (long long)p->count, (unsigned long long)n);
        goto fail;
    }
    for (int64_t i = 0; i < p->count; i++) {
        int64_t out = i / p->cols, in = i % p->cols;

        ours[p->layout == LT_HF_CONV1D ? in * p->rows + out : i] = values[i];
    }
    add_row(g, error_of(g, ours, ref, n), bound, prefix[0] == 'g' ? "grad." : "final.", p->name);
fail:
    free(ref);
    free(ours);
    return err;
}

static lt_err global_norm(golden *g)
{
    const lt_param_table *table = lt_engine_table(g->engine);
    double sum = 0;
    lt_err err = LT_OK;

    for (int i = 0; i < table->n_params && err == LT_OK; i++) {
        char name[LT_PARAM_NAME_BYTES + 16];
        double *ref = NULL;
        uint64_t n = 0;

        snprintf(name, sizeof name, "grad.%s", table->params[i].name);
        err = read_ref(g, name, &ref, &n);
        for (uint64_t k = 0; err == LT_OK && k < n; k++)
            sum += ref[k] * ref[k];
        free(ref);
    }
    g->global_norm = sqrt(sum);
    return err;
}

/* Where this rank's runs of values come from. */
typedef lt_err (*read_piece)(golden *g, const lt_zero_piece *piece, float *values);

static lt_err read_gradient(golden *g, const lt_zero_piece *piece, float *values)
{
    lt_dev *dev = lt_engine_device(g->engine);
    lt_tensor grad = lt_zero_owned_grad_piece(lt_engine_store(g->engine), piece);

    lt_dev_copy(dev, LT_STREAM_COMPUTE, values, lt_f32(grad), (size_t)grad.cols * sizeof *values);
    return lt_dev_sync(dev);
}

static lt_err read_master(golden *g, const lt_zero_piece *piece, float *values)
{
    return lt_zero_read(lt_engine_store(g->engine), LT_ZERO_MASTER, piece, values);
}

/* Every parameter, put together from the pieces of all ranks, against the reference. */
static lt_err compare_params(golden *g, const char *prefix, read_piece read, double bound)
{
    const lt_param_table *table = lt_engine_table(g->engine);
    int n = 0, at = 0;
    lt_zero_piece *pieces = lt_zero_plan_pieces(lt_engine_zero_plan(g->engine), table, &n);
    float *values = NULL;
    double *whole = NULL;
    lt_err err = LT_OK;

    for (int i = 0; i < table->n_params; i++) {
        const lt_param *p = &table->params[i];

        whole = lt_new_array0((size_t)p->count, sizeof *whole);
        if (at < n && pieces[at].param == i) {
            const lt_zero_piece *piece = &pieces[at++];

            values = lt_new_array0((size_t)piece->count, sizeof *values);
            LT_TRY(err = read(g, piece, values));
            for (int64_t k = 0; k < piece->count; k++)
                whole[piece->first + k] = (double)values[k];
        }
        LT_TRY(err = lt_ranks_sum(g->args->group, whole, (int)p->count));
        LT_TRY(err = compare_param(g, prefix, p, whole, bound));
        free(values);
        free(whole);
        values = NULL;
        whole = NULL;
    }
fail:
    free(values);
    free(whole);
    free(pieces);
    return err;
}

static lt_err compare_gradients(golden *g, const lt_engine_batch *batch)
{
    double loss, *ref = NULL;
    uint64_t n = 0;
    lt_err err;

    LT_TRY(err = lt_engine_gradients(g->engine, batch, g->n_tokens, &loss));
    LT_TRY(err = read_ref(g, "loss", &ref, &n));
    add_row(g, fabs(loss - ref[0]) / fabs(ref[0]), g->args->bound, "loss", "");
    err = compare_params(g, "grad", read_gradient, g->args->bound);
fail:
    free(ref);
    return err;
}

static lt_err compare_training(golden *g, const lt_engine_batch *batch)
{
    double *losses = NULL, *norms = NULL;
    uint64_t n = 0, n_norms = 0;
    lt_err err;

    LT_TRY(err = read_ref(g, "train.loss", &losses, &n));
    LT_TRY(err = read_ref(g, "train.grad_norm", &norms, &n_norms));
    for (uint64_t i = 0; i < n; i++) {
        lt_engine_result r;
        char name[32];

        LT_TRY(err = lt_engine_step(g->engine, batch, 1, g->n_tokens, metadata(g, "lr", 0), &r));
        snprintf(name, sizeof name, "%llu", (unsigned long long)i + 1);
        add_row(g, fabs(r.loss - losses[i]) / fabs(losses[i]), g->args->bound, "train.loss ", name);
        if (i < n_norms)
            add_row(g, fabs(r.grad_norm - norms[i]) / norms[i], 10 * g->args->bound,
                    "train.grad_norm ", name);
    }
    LT_TRY(err = lt_zero_sync(lt_engine_store(g->engine)));
    err = compare_params(g, "final", read_master, g->args->bound_final);
fail:
    free(losses);
    free(norms);
    return err;
}

static int by_excess(const void *a, const void *b)
{
    const row *x = a, *y = b;
    double ex = x->error / x->bound, ey = y->error / y->bound;

    /* NaN is worse than anything */
    if (isnan(ex) || isnan(ey))
        return (int)isnan(ex) - (int)isnan(ey);
    return ex < ey ? -1 : ex > ey;
}

static size_t report(golden *g)
{
    size_t over = 0, from = 0;

    qsort(g->rows, g->n_rows, sizeof *g->rows, by_excess);
    for (size_t i = 0; i < g->n_rows; i++)
        over += !(g->rows[i].error <= g->rows[i].bound);
    if (g->args->group->rank > 0)
        return over;
    if (g->args->json) {
        const row *worst = &g->rows[g->n_rows - 1];

        printf("{\"folder\": \"%s\", \"device\": \"%s\", \"precision\": \"%s\", "
               "\"recompute\": \"%s\", \"tensors\": %zu, \"over\": %zu, \"worst\": \"%s\", "
               "\"worst_error\": %.4g, \"worst_bound\": %.4g}\n",
               g->folder, g->args->device, g->args->precision, g->args->recompute, g->n_rows, over,
               worst->name, worst->error, worst->bound);
        return over;
    }
    printf("%s  device %s  %s  recompute %s\n", g->folder, g->args->device, g->args->precision,
           g->args->recompute);
    printf("  %-52s %12s %12s\n", "case", "error", "bound");
    if (!g->args->all && g->n_rows > 10)
        from = g->n_rows - 10;
    for (size_t i = from; i < g->n_rows; i++) {
        const row *r = &g->rows[i];

        printf("  %-52s %12.3e %12.1e%s\n", r->name, r->error, r->bound,
               r->error <= r->bound ? "" : "  OVER");
    }
    printf("  %zu of %zu within bounds\n", g->n_rows - over, g->n_rows);
    return over;
}

static lt_err run_folder(const golden_args *args, const char *folder, size_t *over)
{
    golden g = { .args = args, .folder = folder };
    char *config = lt_path_join(folder, "config.json"),
         *ref = lt_path_join(folder, "golden.safetensors");
    double dropout;
    lt_engine_batch batch = { 0 };
    int64_t first;
    lt_err err;

    LT_TRY(err = lt_model_config_from_hf(&g.config, &dropout, config));
    LT_TRY(err = lt_safetensors_open(&g.ref, ref));
    LT_TRY(err = read_batch(&g));
    LT_TRY(err = open_engine(&g));
    LT_TRY(err = global_norm(&g));
    first = g.rank_batch * g.seq * args->group->rank;
    batch = (lt_engine_batch){ g.ids + first, g.targets + first, g.positions + first, NULL };
    LT_TRY(err = compare_logits(&g, &batch));
    LT_TRY(err = compare_gradients(&g, &batch));
    LT_TRY(err = compare_training(&g, &batch));
    *over += report(&g);
fail:
    lt_engine_close(g.engine);
    lt_safetensors_close(g.ref);
    free(g.rows);
    free(g.ids);
    free(g.targets);
    free(g.positions);
    free(config);
    free(ref);
    return err;
}

static lt_err check_args(golden_args *a, const lt_opt_list *folders)
{
    lt_err err;

    if (folders->n == 0)
        return lt_fail(LT_EUSAGE, "golden: no folder given");
    LT_TRY(err = bench_parse_precision(&a->act, a->precision));
    LT_TRY(err = bench_parse_recompute(&a->keep, a->recompute));
    if (a->bound <= 0)
        a->bound = a->act == LT_F32 ? 1e-5 : 2e-2;
    if (a->bound_final <= 0)
        a->bound_final = 10 * a->bound;
fail:
    return err;
}

lt_err bench_golden(int argc, char **argv)
{
    golden_args args = { .device = "cpu", .precision = "fp32", .recompute = "none" };
    lt_opt_list folders = { 0 };
    bool done = false;
    size_t over = 0;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_golden_command, argc, argv, &args, &folders, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&args, &folders));
    LT_TRY(err = lt_rank_join(&args.group, "lt-bench"));
    for (size_t i = 0; i < folders.n; i++)
        LT_TRY(err = run_folder(&args, folders.items[i], &over));
    if (over)
        err = lt_ranks_agree(args.group,
                             lt_fail(LT_EMISMATCH, "golden: %zu values over their bound", over));
fail:
    bench_ranks_leave(args.group, err);
    lt_group_close(args.group);
    lt_opt_list_release(&folders);
    return err;
}
