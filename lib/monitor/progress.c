/* progress.c - formats the progress line and decides when it is due. */
#include "monitor/progress.h"
#include "base/clock.h"
#include "base/log.h"
#include "monitor/units.h"

static const double redraw_seconds = 0.1;

void lt_progress_format(lt_buf *out, const lt_step_metrics *m, uint64_t total_steps)
{
    char text[LT_UNIT_TEXT_BYTES];

    lt_buf_printf(out, "step %llu", (unsigned long long)m->step);
    if (total_steps)
        lt_buf_printf(out, "/%llu", (unsigned long long)total_steps);
    lt_buf_printf(out, "  loss %.4g  lr %.2e  norm %.3g", m->loss, m->lr, m->grad_norm);
    if (m->has_val)
        lt_buf_printf(out, "  val %.4g", m->val_loss);
    lt_buf_printf(out, "  %s tok/s", lt_unit_count(text, m->tokens_per_s));
    if (m->eta_s > 0)
        lt_buf_printf(out, "  eta %s", lt_unit_seconds(text, m->eta_s));
    if (m->mfu > 0)
        lt_buf_printf(out, "  mfu %.1f%%", 100 * m->mfu);
    else if (m->flops_per_s > 0)
        lt_buf_printf(out, "  %sFLOP/s", lt_unit_count(text, m->flops_per_s));
    if (m->power_w > 0)
        lt_buf_printf(out, "  %.0fW %.0fMHz%s%s%s", m->power_w, m->sm_mhz,
                      m->throttle[0] ? " (" : "", m->throttle, m->throttle[0] ? ")" : "");
    if (m->skipped_steps)
        lt_buf_printf(out, "  skipped %llu", (unsigned long long)m->skipped_steps);
}

void lt_progress_step(lt_progress *p, const lt_step_metrics *m)
{
    bool last = m->step == p->total_steps;
    bool drawn = lt_log_progress_shown();
    double now = lt_now();
    lt_buf line = { 0 };

    if (drawn) {
        if (now - p->drawn_at < redraw_seconds && !last)
            return;
        p->drawn_at = now;
    } else if (!last && (!p->every_steps || m->step % p->every_steps)) {
        return;
    }
    lt_progress_format(&line, m, p->total_steps);
    if (drawn && !last)
        lt_log_progress("%s", lt_buf_cstr(&line));
    else
        lt_log_info("%s", lt_buf_cstr(&line));
    lt_buf_release(&line);
}
