/* tools/ckpt/ckpt_work.c - merge and verify, with progress on a terminal
 * and one line at the end. */
#include "ckpt_tool.h"
#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>

/* Draws at most ten times a second. */
typedef struct progress {
    lt_ckpt_watch watch;
    const char *verb;
    double started, drawn;
    uint64_t total;
} progress;

static void show(lt_ckpt_watch *w, uint64_t done, uint64_t total)
{
    progress *p = (progress *)w;
    double now = lt_now();

    p->total = total;
    if (!lt_log_progress_shown() || (now - p->drawn < 0.1 && done < total))
        return;
    p->drawn = now;
    lt_log_progress("%s %.0f of %.0f MB, %.0f MB/s", p->verb, (double)done / 1e6,
                    (double)total / 1e6, (double)done / 1e6 / (now - p->started + 1e-9));
}

static void say_damage(lt_ckpt_watch *w, const char *sentence)
{
    (void)w;
    lt_log_error("%s", sentence);
}

static progress begin(const char *verb)
{
    return (progress){ .watch.progress = show, .verb = verb, .started = lt_now() };
}

lt_err tool_verify(lt_ckpt *c)
{
    progress p = begin("verified");
    double seconds;
    lt_err err;

    p.watch.damage = say_damage;
    LT_TRY(err = lt_ckpt_verify(c, &p.watch));
    seconds = lt_now() - p.started;
    lt_log_info("%s is sound: %zu files, %.1f MB, %.0f MB/s", lt_ckpt_path(c),
                lt_ckpt_manifest(c)->n_files, (double)p.total / 1e6,
                (double)p.total / 1e6 / (seconds + 1e-9));
    return LT_OK;
fail:
    if (err == LT_EFORMAT) /* the places were named as they were found */
        err = lt_fail(err, "%s is damaged", lt_ckpt_path(c));
    return err;
}

lt_err tool_merge(lt_ckpt *c, const char *folder, const lt_hf_export_options *o)
{
    progress p = begin("wrote");
    lt_hf_export_report r;
    double seconds;
    lt_err err;

    LT_TRY(err = lt_hf_export(c, folder, o, &p.watch, &r));
    seconds = lt_now() - p.started;
    lt_log_info("%s: step %" PRIu64 ", %zu tensors, %" PRIu64 " parameters as %s in %zu file%s, "
                "%.1f MB, %.0f MB/s",
                folder, lt_ckpt_manifest(c)->step.step, r.n_tensors, r.n_elements,
                lt_dtype_name(o->dtype), r.n_files, r.n_files == 1 ? "" : "s",
                (double)r.data_bytes / 1e6, (double)r.data_bytes / 1e6 / (seconds + 1e-9));
fail:
    return err;
}
