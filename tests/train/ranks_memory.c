/* ranks_memory.c - what the kernel says of a rank's memory: its resident pages grow by the bytes
 * that are planned for its stage.
 *
 * The model is large enough (4.9 M parameters, 78 MB of fp32 state) that libraries, stacks and the
 * messages of MPI are small beside it. */
#include "lt_ranks.h"

#include "base/file.h"
#include "train/engine.h"

#include <stdlib.h>

enum { SEQ = 16, ROWS = 2 * SEQ, SLACK = 6000000 /* bytes */ };

/* Bytes of the line called key in /proc/self/status. */
static lt_err read_status(const char *key, double *bytes)
{
    lt_buf text = { 0 };
    const char *line;
    lt_err err;

    LT_TRY(err = lt_file_read_all(&text, "/proc/self/status", 1 << 16));
    line = strstr(lt_buf_cstr(&text), key);
    *bytes = line ? strtod(line + strlen(key), NULL) * 1024 : 0;
fail:
    lt_buf_release(&text);
    return err;
}

/* The high-water mark begins anew at what is resident now; false where the kernel does not. */
static bool reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    bool done = f && fputs("5", f) >= 0;

    return (!f || fclose(f) == 0) && done;
}

static lt_engine_options options_of(const lt_model_config *m, int stage)
{
    return (lt_engine_options){
        .config = m,
        .shape = { .n_batch = ROWS / SEQ,
                   .seq = SEQ,
                   .act = LT_F32,
                   .grad = LT_F32,
                   .uses = { [LT_USE_TRAIN] = true } },
        .device = "cpu",
        .dev = { .n_threads = 1, .deterministic = true },
        .optim = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .max_norm = 1 },
        .zero = { .stage = stage, .overlap = true, .prefetch = 1, .max_live = 1 << 30 },
        .group = lt_ranks_group(),
        .training = true
    };
}

/* One step, so that every page has been written. */
static lt_err grow(const lt_engine_options *o, double *planned, double *resident)
{
    int32_t ids[ROWS] = { 0 }, positions[ROWS];
    lt_engine_batch micro = { .ids = ids, .targets = ids, .positions = positions };
    lt_engine_result result;
    lt_engine_bytes used;
    lt_engine *e = NULL;
    double before, peak;
    lt_err err;

    for (int i = 0; i < ROWS; i++)
        positions[i] = i % SEQ;
    LT_TRY(err = read_status("VmRSS:", &before));
    LT_TRY(err = lt_engine_open(&e, o));
    LT_TRY(err = lt_engine_init_weights(e, 1));
    LT_TRY(err = lt_engine_step(e, &micro, 1, (int64_t)ROWS * o->group->world, 1e-3, &result));
    LT_TRY(err = read_status("VmHWM:", &peak));
    used = lt_engine_bytes_used(e);
    *planned = (double)(used.total + used.host);
    *resident = peak - before;
fail:
    lt_engine_close(e);
    return err;
}

LT_TEST(resident_memory_is_what_is_planned)
{
    lt_model_config m;
    double planned = 0, resident = 0;

    LT_CHECK(lt_model_config_named(&m, "gpt2"));
    m.vocab_size = 512;
    m.n_positions = SEQ;
    m.n_layer = 6;
    m.n_head = m.n_kv_head = 4;
    m.head_dim = 64;
    m.n_embd = 256;
    m.n_inner = 1024;
    for (int stage = 0; stage <= 3; stage++) {
        lt_engine_options o = options_of(&m, stage);

        if (!reset_peak()) {
            lt_test_skip("/proc/self/clear_refs cannot be written");
            return;
        }
        LT_CHECK_OK(grow(&o, &planned, &resident));
        LT_FAIL_IF(!(resident < 1.03 * planned + SLACK && resident > 0.97 * planned - SLACK),
                   "stage %d: %.1f MB planned, %.1f MB resident", stage, planned * 1e-6,
                   resident * 1e-6);
    }
}
