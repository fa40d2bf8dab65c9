/* test_curve.c - the SVG of a loss curve: well formed, bounded, spikes kept, bad logs refused. */
#include "base/file.h"
#include "base/rng.h"
#include "lt_test.h"
#include "monitor/curve.h"
#include "monitor/metrics.h"

#include <math.h>
#include <stdlib.h>

/* A log of n steps, `stride` apart; every `eval`-th has a validation loss (0: none). */
static lt_err write_log(const char *path, uint64_t n, uint64_t stride, uint64_t eval, double spike)
{
    lt_buf text = { 0 };
    lt_err err;

    for (uint64_t i = 1; i <= n; i++) {
        double trend = 2 + 5 * exp(-(double)i / ((double)n / 8 + 1));
        lt_step_metrics m = { .step = i * stride,
                              .samples = i,
                              .tokens = i * stride * 8192,
                              .loss = trend + 0.15 * lt_random_normal(1, 2, i) };

        if (i == n / 2)
            m.loss = spike;
        if (eval && i % eval == 0) {
            m.has_val = true;
            m.val_loss = trend + 0.2;
            m.perplexity = exp(m.val_loss);
        }
        lt_metrics_encode(&text, &m);
    }
    err = lt_file_write_atomic(path, text.data ? text.data : "", text.size);
    lt_buf_release(&text);
    return err;
}

static int count(const char *text, const char *part)
{
    int n = 0;

    for (const char *p = text; (p = strstr(p, part)); p++)
        n++;
    return n;
}

/* Draws the log and reads the SVG; NULL when that fails. */
static const char *draw(lt_buf *svg, const char *log)
{
    static char path[512];

    if (!path[0]) /* lt_test_tmp has few buffers and the callers hold one */
        snprintf(path, sizeof path, "%s", lt_test_tmp("curve.svg"));
    lt_buf_clear(svg);
    if (lt_curve_svg(log, path) != LT_OK || lt_file_read_all(svg, path, 1 << 24) != LT_OK)
        return NULL;
    return lt_buf_cstr(svg);
}

LT_TEST(curve_has_axes_lines_and_legend)
{
    const char *log = lt_test_tmp("run.jsonl");
    const char *keep = getenv("LT_TEST_KEEP_SVG"); /* to look at it */
    lt_buf svg = { 0 };
    const char *text;

    LT_CHECK_OK(write_log(log, 3000, 1, 250, 9.5));
    LT_CHECK((text = draw(&svg, log)));
    LT_CHECK_INT(count(text, "<svg "), 1);
    LT_CHECK_INT(count(text, "</svg>"), 1);
    LT_CHECK_INT(count(text, "<polyline"), 3);
    LT_CHECK_INT(count(text, "<circle"), 12);
    LT_CHECK(strstr(text, "moving average") && strstr(text, ">validation</text>"));
    LT_CHECK(strstr(text, "3000 steps, 24.6M tokens: train ") && strstr(text, "perplexity"));
    LT_CHECK(count(text, "class=\"tick\"") >= 4 && count(text, "class=\"grid\"") >= 3);
    LT_CHECK(!strstr(text, "nan") && !strstr(text, "inf"));
    if (keep)
        LT_CHECK_OK(lt_file_write_atomic(keep, svg.data, svg.size));
    lt_buf_release(&svg);
}

LT_TEST(curve_of_a_long_run_stays_small_and_keeps_the_spike)
{
    const char *log = lt_test_tmp("long.jsonl");
    lt_buf svg = { 0 };
    const char *text;

    LT_CHECK_OK(write_log(log, 40000, 10, 0, 400));
    LT_CHECK((text = draw(&svg, log)));
    LT_CHECK(svg.size < 100000);
    LT_CHECK_INT(count(text, "<polyline"), 2);
    LT_CHECK(strstr(text, ">400</text>") && strstr(text, ">100k</text>"));
    LT_CHECK(count(text, ",76.0 ") >= 1); /* the spike touches the top of the plot */
    lt_buf_release(&svg);
}

LT_TEST(curve_of_odd_logs_is_still_a_picture)
{
    static const char *const logs[] = {
        "{\"step\":1,\"loss\":2}\n",
        "{\"step\":9223372036854775807,\"loss\":0}\n",
        "{\"step\":5,\"loss\":1e300}\n{\"step\":4,\"loss\":-1e-300}\n{\"step\":4,\"loss\":3}\n",
        "{\"step\":1,\"loss\":\"nan\"}\n{\"step\":2,\"loss\":1,\"val_loss\":\"inf\"}\n",
        "{\"step\":0,\"loss\":1e29,\"val_loss\":-1e29}\n",
    };
    const char *log = lt_test_tmp("odd.jsonl");
    lt_buf svg = { 0 };

    for (size_t i = 0; i < LT_COUNT(logs); i++) {
        const char *text;

        LT_CHECK_OK(lt_file_write_atomic(log, logs[i], strlen(logs[i])));
        text = draw(&svg, log);
        LT_FAIL_IF(!text, "log %zu: %s", i, lt_err_text());
        LT_CHECK(!strstr(text, "nan") && !strstr(text, "inf"));
        LT_CHECK(svg.size < 20000);
    }
    lt_buf_release(&svg);
}

LT_TEST(curve_refuses_a_log_without_a_loss_and_keeps_the_old_picture)
{
    const char *log = lt_test_tmp("empty.jsonl"), *out = lt_test_tmp("old.svg");
    static const char nan_line[] = "{\"step\":1,\"loss\":\"nan\"}\n";
    lt_buf kept = { 0 };

    LT_CHECK_OK(lt_file_write_atomic(out, "old", 3));
    LT_CHECK_OK(write_log(log, 0, 1, 0, 0));
    LT_CHECK_FAILS(lt_curve_svg(log, out), LT_EFORMAT, "empty.jsonl: expected at least one step");
    LT_CHECK_OK(lt_file_write_atomic(log, nan_line, sizeof nan_line - 1));
    LT_CHECK_FAILS(lt_curve_svg(log, out), LT_EFORMAT, "finite loss");
    LT_CHECK_FAILS(lt_curve_svg(lt_test_tmp("absent.jsonl"), out), LT_ENOENT, "absent.jsonl");
    LT_CHECK_OK(lt_file_read_all(&kept, out, 100));
    LT_CHECK_STR(lt_buf_cstr(&kept), "old");
    lt_buf_release(&kept);
}
