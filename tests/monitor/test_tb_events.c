/* test_tb_events.c - event files byte by byte.  That TensorBoard itself reads them is shown by
 * tests/monitor/read_events.py, which needs its Python package and is run by hand. */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "lt_test.h"
#include "monitor/tb_events.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>

/* The n-th event file of a folder in name order, read whole. */
static int read_events(lt_buf *out, const char *dir, int nth)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, NULL, alphasort), found = 0;

    for (int i = 0; i < n; i++) {
        if (!strncmp(names[i]->d_name, "events.out.tfevents.", 20) && found++ == nth) {
            char *path = lt_path_join(dir, names[i]->d_name);

            if (lt_file_read_all(out, path, 1 << 20) != LT_OK)
                found = -1000;
            free(path);
        }
        free(names[i]);
    }
    free(names);
    return found;
}

static uint64_t le(const char *p, int n)
{
    uint64_t x = 0;

    for (int i = n - 1; i >= 0; i--)
        x = x << 8 | (uint8_t)p[i];
    return x;
}

static uint32_t unmask(uint64_t masked)
{
    uint32_t rot = (uint32_t)masked - 0xa282ead8u;

    return rot >> 17 | rot << 15;
}

/* The record at *at, or NULL; checks both CRCs and moves *at behind it. */
static const char *next_record(const lt_buf *file, size_t *at, size_t *n)
{
    const char *p = file->data + *at;

    if (file->size - *at < 16)
        return NULL;
    *n = (size_t)le(p, 8);
    if (*n > file->size - *at - 16 || unmask(le(p + 8, 4)) != lt_crc32c(0, p, 8) ||
        unmask(le(p + 12 + *n, 4)) != lt_crc32c(0, p + 12, *n))
        return NULL;
    *at += 16 + *n;
    return p + 12;
}

static lt_step_metrics some_step(void)
{
    return (lt_step_metrics){ .step = 3,
                              .samples = 300,
                              .time = 1.7e9,
                              .loss = 2.5,
                              .lr = 1e-3,
                              .loss_scale = 1,
                              .grad_norm = 0.5,
                              .tokens_per_s = 1000,
                              .peak_rss = 4096 };
}

LT_TEST(tb_events_scalar_has_the_exact_bytes)
{
    static const char want[] = "\x09\0\0\0\0\0\0\xf8\x3f" /* 1: wall_time 1.5 */
                               "\x10\xac\x02"             /* 2: step 300 */
                               "\x2a\x0a"                 /* 5: summary, 10 bytes */
                               "\x0a\x08"                 /* 1: value, 8 bytes */
                               "\x0a\x01"                 /* 1: tag, 1 byte */
                               "a"
                               "\x15\0\0\x20\x40"; /* 2: simple_value 2.5 */
    const char *dir = lt_test_tmp("exact");
    lt_tb_events *w = NULL;
    lt_buf file = { 0 };
    const char *data;
    size_t at = 0, n = 0;

    LT_CHECK_OK(lt_tb_events_open(&w, dir, 60));
    LT_CHECK_OK(lt_tb_events_scalar(w, "a", 300, 1.5, 2.5));
    LT_CHECK_OK(lt_tb_events_close(w));
    LT_CHECK_INT(read_events(&file, dir, 0), 1);
    data = next_record(&file, &at, &n);
    LT_CHECK(data && n == 24 && le(data, 1) == 0x09);
    LT_CHECK(!memcmp(data + 9,
                     "\x1a\x0d"
                     "brain.Event:2",
                     15));
    data = next_record(&file, &at, &n);
    LT_CHECK(data && n == sizeof want - 1 && !memcmp(data, want, n));
    LT_CHECK_INT(at, file.size);
    lt_buf_release(&file);
}

LT_TEST(tb_events_step_leaves_out_what_was_not_measured)
{
    const char *dir = lt_test_tmp("step");
    lt_step_metrics m = some_step();
    lt_tb_events *w = NULL;
    lt_buf file = { 0 };
    size_t at = 0, n = 0, records = 0;

    LT_CHECK_OK(lt_tb_events_open(&w, dir, 60));
    LT_CHECK_OK(lt_tb_events_step(w, &m));
    m.has_val = true;
    m.val_loss = m.loss = NAN;
    m.forward_ms = 3;
    LT_CHECK_OK(lt_tb_events_step(w, &m));
    LT_CHECK_OK(lt_tb_events_close(w));
    LT_CHECK_INT(read_events(&file, dir, 0), 1);
    for (; next_record(&file, &at, &n); records++) {
        const char *data = file.data + at - 4 - n;

        if (records == 1)
            LT_CHECK(memmem(data, n, "Train/Samples/train_loss", 24));
        if (records < 3)
            LT_CHECK(!memmem(data, n, "eval/", 5) && !memmem(data, n, "_ms_forward", 11));
        if (records == 3)
            LT_CHECK(memmem(data, n, "elapsed_time_ms_forward", 23));
        if (records == 4)
            LT_CHECK(memmem(data, n, "eval/loss", 9) && !memmem(data, n, "mfu", 3));
    }
    LT_CHECK_INT(records, 5);
    LT_CHECK_INT(at, file.size);
    lt_buf_release(&file);
}

LT_TEST(tb_events_flush_period_decides_when_bytes_appear)
{
    const char *dir = lt_test_tmp("flush");
    lt_step_metrics m = some_step();
    lt_tb_events *w = NULL;
    lt_buf file = { 0 };
    size_t header;

    LT_CHECK_OK(lt_tb_events_open(&w, dir, 3600));
    read_events(&file, dir, 0);
    header = file.size;
    LT_CHECK_INT(header, 40);
    LT_CHECK_OK(lt_tb_events_step(w, &m));
    lt_buf_clear(&file);
    read_events(&file, dir, 0);
    LT_CHECK_INT(file.size, header);
    LT_CHECK_OK(lt_tb_events_flush(w));
    lt_buf_clear(&file);
    read_events(&file, dir, 0);
    LT_CHECK(file.size > header);
    LT_CHECK_OK(lt_tb_events_close(w));
    lt_buf_release(&file);
}

LT_TEST(tb_events_of_a_restart_get_their_own_file)
{
    const char *dir = lt_test_tmp("restart");
    lt_tb_events *first = NULL, *second = NULL;
    lt_buf file = { 0 };

    LT_CHECK_OK(lt_tb_events_open(&first, dir, 0));
    LT_CHECK_OK(lt_tb_events_open(&second, dir, 0));
    LT_CHECK_OK(lt_tb_events_scalar(first, "a", 1, lt_wall_time(), 1));
    LT_CHECK_OK(lt_tb_events_close(first));
    LT_CHECK_OK(lt_tb_events_close(second));
    LT_CHECK_INT(read_events(&file, dir, 1), 2);
    LT_CHECK_INT(file.size, 40);
    lt_buf_release(&file);
}

LT_TEST(tb_events_open_names_the_folder_it_cannot_make)
{
    lt_tb_events *w = NULL;

    LT_CHECK_FAILS(lt_tb_events_open(&w, "/proc/none/such", 1), LT_EIO, "/proc/none");
    LT_CHECK(w == NULL);
}
