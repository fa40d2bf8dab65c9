/* test_metrics.c - metrics.jsonl: bits survive, bad numbers stay JSON, a resume repeats no step. */
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "lt_test.h"
#include "monitor/metrics.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

static lt_step_metrics step_at(uint64_t step)
{
    return (lt_step_metrics){ .step = step,
                              .samples = step * 8,
                              .tokens = step * 8192,
                              .time = 1.7e9 + (double)step,
                              .loss = 10.0 / (double)(step + 1),
                              .lr = 3e-4,
                              .grad_norm = (double)0.7f,
                              .loss_scale = 1,
                              .step_ms = 12.5,
                              .tokens_per_s = 41234.5,
                              .peak_rss = 1u << 30 };
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static lt_err write_log(const char *dir, uint64_t resume, uint64_t first, uint64_t last)
{
    lt_metrics_log *log = NULL;
    lt_err err;

    LT_TRY(err = lt_metrics_log_open(&log, dir, resume));
    for (uint64_t s = first; s <= last; s++) {
        lt_step_metrics m = step_at(s);

        LT_TRY(err = lt_metrics_log_step(log, &m));
    }
    LT_TRY(err = lt_metrics_log_sync(log));
fail:
    lt_metrics_log_close(log);
    return err;
}

/* The steps of a log as text: "1 2 3". */
static const char *steps_of(const char *path)
{
    static char text[256];
    lt_step_metrics *m = NULL;
    size_t n = 0, at = 0;

    if (lt_metrics_load(&m, &n, path) != LT_OK)
        return lt_err_text();
    text[0] = 0;
    for (size_t i = 0; i < n && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu", i ? " " : "",
                               (unsigned long long)m[i].step);
    free(m);
    return text;
}

LT_TEST(metrics_line_reads_back_to_the_same_bits)
{
    for (uint64_t i = 0; i < 2000; i++) {
        lt_step_metrics m = step_at(i + 1), back;
        lt_buf line = { 0 };

        m.loss = ldexp(lt_random_unit(1, 2, i), (int)(i % 600) - 300);
        m.lr = (double)(float)lt_random_unit(1, 3, i);
        m.has_val = i % 2;
        m.val_loss = m.has_val ? lt_random_normal(1, 4, i) : 0;
        m.mfu = i % 3 ? 0.431 : 0;
        lt_metrics_encode(&line, &m);
        LT_CHECK_OK(lt_metrics_parse(&back, line.data, line.size, "line"));
        LT_CHECK(same_bits(back.loss, m.loss) && same_bits(back.lr, m.lr));
        LT_CHECK(same_bits(back.val_loss, m.val_loss) && same_bits(back.mfu, m.mfu));
        LT_CHECK(same_bits(back.time, m.time) && back.peak_rss == m.peak_rss);
        LT_CHECK_INT(back.has_val, m.has_val);
        LT_CHECK_INT(back.tokens, m.tokens);
        lt_buf_release(&line);
    }
}

LT_TEST(metrics_line_is_short_and_has_the_loss_in_hex)
{
    lt_step_metrics m = step_at(3);
    lt_buf line = { 0 };

    m.loss = 2.5;
    lt_metrics_encode(&line, &m);
    LT_CHECK_STR(lt_buf_cstr(&line),
                 "{\"step\":3,\"samples\":24,\"tokens\":24576,\"time\":1700000003,\"loss\":2.5,"
                 "\"lr\":0.0003,\"grad_norm\":0.699999988079071,\"loss_scale\":1,"
                 "\"step_ms\":12.5,\"tokens_per_s\":41234.5,\"skipped_steps\":0,"
                 "\"peak_rss\":1073741824,\"loss_hex\":\"0x1.4p+1\"}\n");
    lt_buf_release(&line);
}

LT_TEST(metrics_line_with_nan_and_inf_is_valid_json)
{
    lt_step_metrics m = step_at(1), back;
    lt_buf line = { 0 };
    json_t *object = NULL;

    m.loss = NAN;
    m.grad_norm = INFINITY;
    m.lr = -INFINITY;
    lt_metrics_encode(&line, &m);
    LT_CHECK_OK(lt_json_parse(&object, line.data, line.size, "line"));
    LT_CHECK_STR(json_string_value(json_object_get(object, "loss")), "nan");
    json_decref(object);
    LT_CHECK_OK(lt_metrics_parse(&back, line.data, line.size, "line"));
    LT_CHECK(isnan(back.loss) && back.grad_norm == INFINITY && back.lr == -INFINITY);
    lt_buf_release(&line);
}

LT_TEST(metrics_parse_names_what_is_wrong)
{
    static const struct {
        const char *line, *part;
    } bad[] = {
        { "{\"step\":1,\"loss\":", "log:7" },
        { "[1]", "log:7: expected a JSON object with \"step\" and \"loss\"" },
        { "{\"step\":1}", "\"loss\"" },
        { "{\"step\":-1,\"loss\":1}", "step" },
        { "{\"step\":\"1\",\"loss\":1}", "step" },
        { "{\"step\":1,\"loss\":\"one\"}", "loss: expected a number" },
        { "{\"step\":1,\"loss\":true}", "loss: expected a number" },
    };

    for (size_t i = 0; i < LT_COUNT(bad); i++) {
        lt_step_metrics m = { .step = 77 };

        LT_CHECK_FAILS(lt_metrics_parse(&m, bad[i].line, strlen(bad[i].line), "log:7"), LT_EFORMAT,
                       bad[i].part);
        LT_CHECK_INT(m.step, 77);
    }
}

LT_TEST(metrics_parse_survives_any_damaged_byte)
{
    lt_step_metrics m = step_at(12), back;
    lt_buf line = { 0 };

    lt_metrics_encode(&line, &m);
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t r = lt_random_u64(5, 6, i);
        size_t at = (size_t)(r % line.size), n = (size_t)(r >> 32) % (line.size + 1);
        char old = line.data[at];

        line.data[at] = (char)(r >> 24);
        if (lt_metrics_parse(&back, line.data, i % 2 ? n : line.size, "x") == LT_OK)
            LT_CHECK(back.step <= INT64_MAX);
        line.data[at] = old;
    }
    lt_buf_release(&line);
}

LT_TEST(metrics_log_resume_repeats_no_step)
{
    const char *dir = lt_test_tmp("resume/deeper");
    const char *path = lt_test_tmp("resume/deeper/metrics.jsonl");

    LT_CHECK_OK(write_log(dir, 0, 1, 7));
    LT_CHECK_STR(steps_of(path), "1 2 3 4 5 6 7");
    LT_CHECK_OK(write_log(dir, 5, 6, 8));
    LT_CHECK_STR(steps_of(path), "1 2 3 4 5 6 7 8");
    LT_CHECK_OK(write_log(dir, 2, 3, 2));
    LT_CHECK_STR(steps_of(path), "1 2");
    LT_CHECK(!lt_path_exists(lt_test_tmp("resume/deeper/metrics.jsonl.old")));
}

LT_TEST(metrics_log_resume_without_cut_leaves_the_file_alone)
{
    const char *dir = lt_test_tmp("alone"), *path = lt_test_tmp("alone/metrics.jsonl");
    lt_buf before = { 0 }, after = { 0 };

    LT_CHECK_OK(write_log(dir, 0, 1, 4));
    LT_CHECK_OK(lt_file_read_all(&before, path, 1 << 20));
    LT_CHECK_OK(write_log(dir, 4, 5, 4));
    LT_CHECK_OK(lt_file_read_all(&after, path, 1 << 20));
    LT_CHECK(before.size == after.size && !memcmp(before.data, after.data, before.size));
    lt_buf_release(&before);
    lt_buf_release(&after);
}

LT_TEST(metrics_log_resume_drops_torn_and_damaged_lines)
{
    const char *dir = lt_test_tmp("torn"), *path = lt_test_tmp("torn/metrics.jsonl");
    static const char text[] = "{\"step\":1,\"loss\":3}\n"
                               "\0\0\0\0\n"
                               "{\"step\":2,\"loss\":2}\n"
                               "{\"step\":2,\"loss\":9}\n"
                               "{\"step\":3,\"lo";

    LT_CHECK_OK(lt_mkdirs(dir));
    LT_CHECK_OK(lt_file_write_atomic(path, text, sizeof text - 1));
    LT_CHECK_OK(write_log(dir, 9, 10, 10));
    LT_CHECK_STR(steps_of(path), "1 2 10");
}

LT_TEST(metrics_log_of_a_new_run_keeps_the_old_one)
{
    const char *dir = lt_test_tmp("fresh");

    LT_CHECK_OK(write_log(dir, 0, 1, 3));
    LT_CHECK_OK(write_log(dir, 0, 1, 1));
    LT_CHECK_STR(steps_of(lt_test_tmp("fresh/metrics.jsonl")), "1");
    LT_CHECK_STR(steps_of(lt_test_tmp("fresh/metrics.jsonl.old")), "1 2 3");
}

LT_TEST(metrics_lock_has_one_holder)
{
    const char *dir = lt_test_tmp("held");
    lt_lock *lock = NULL, *second = NULL;

    LT_CHECK_OK(lt_metrics_lock(&lock, dir));
    LT_CHECK_FAILS(lt_metrics_lock(&second, dir), LT_EIO,
                   "held: another job writes metrics.jsonl here: host ");
    LT_CHECK_OK(lt_lock_take(&second, dir, "lock", "writes checkpoints")); /* may be here too */
    lt_lock_drop(second);
    lt_lock_drop(lock);
    LT_CHECK_OK(lt_metrics_lock(&second, dir));
    lt_lock_drop(second);
}

LT_TEST(metrics_load_skips_the_line_being_written_and_names_a_bad_one)
{
    const char *path = lt_test_tmp("load.jsonl");
    static const char open_end[] = "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}";
    static const char bad[] = "{\"step\":1,\"loss\":3}\n\nx\n";
    lt_step_metrics *m = NULL;
    size_t n = 0;

    LT_CHECK_OK(lt_file_write_atomic(path, open_end, sizeof open_end - 1));
    LT_CHECK_OK(lt_metrics_load(&m, &n, path));
    LT_CHECK_INT(n, 1);
    free(m);
    LT_CHECK_OK(lt_file_write_atomic(path, bad, sizeof bad - 1));
    LT_CHECK_FAILS(lt_metrics_load(&m, &n, path), LT_EFORMAT, "load.jsonl:2");
    LT_CHECK_FAILS(lt_metrics_load(&m, &n, lt_test_tmp("none.jsonl")), LT_ENOENT, "none.jsonl");
}

/* A file size limit in the middle of a line stands for a full disk. */
LT_TEST(metrics_log_removes_the_line_that_a_full_disk_tore)
{
    const char *dir = lt_test_tmp("full"), *path = lt_test_tmp("full/metrics.jsonl");
    struct rlimit old, small;
    lt_metrics_log *log = NULL;
    lt_step_metrics m = step_at(2), n = step_at(3);
    lt_file file;
    lt_err err;

    LT_CHECK_OK(write_log(dir, 0, 1, 1));
    LT_CHECK_OK(lt_file_open_read(&file, path));
    LT_CHECK_OK(lt_metrics_log_open(&log, dir, 1));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = file.size + 20;
    setrlimit(RLIMIT_FSIZE, &small);
    err = lt_metrics_log_step(log, &m);
    setrlimit(RLIMIT_FSIZE, &old);
    LT_CHECK_INT(err, LT_EIO);
    LT_CHECK_OK(lt_metrics_log_step(log, &n));
    LT_CHECK_STR(steps_of(path), "1 3");
    lt_metrics_log_close(log);
    lt_file_close(&file);
}
