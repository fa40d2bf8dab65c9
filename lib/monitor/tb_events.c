/* tb_events.c - TFRecord framing and the few protocol buffer fields that scalars need.
 *
 *   Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
 *   Summary { repeated Value value = 1 }      Value { string tag = 1; float simple_value = 2 }  */
#include "monitor/tb_events.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2 };

struct lt_tb_events {
    int fd;
    char *path;
    uint64_t size; /* bytes that are whole records */
    double flush_seconds, flushed_at;
    lt_buf pending;                /* whole records that are not in the file yet */
    lt_buf event, summary, scalar; /* the message under construction, inside out */
};

static void put_le(lt_buf *b, uint64_t x, int n_bytes)
{
    uint8_t bytes[8];

    for (int i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)(x >> (8 * i));
    lt_buf_append(b, bytes, (size_t)n_bytes);
}

static void put_varint(lt_buf *b, uint64_t x)
{
    uint8_t bytes[10];
    size_t n = 0;

    for (; x >= 0x80; x >>= 7)
        bytes[n++] = (uint8_t)(x | 0x80);
    bytes[n++] = (uint8_t)x;
    lt_buf_append(b, bytes, n);
}

static void put_tag(lt_buf *b, unsigned number, unsigned wire)
{
    put_varint(b, number << 3 | wire);
}

static void put_double(lt_buf *b, unsigned number, double x)
{
    uint64_t u;

    memcpy(&u, &x, sizeof u);
    put_tag(b, number, WIRE_64);
    put_le(b, u, 8);
}

static void put_float(lt_buf *b, unsigned number, float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    put_tag(b, number, WIRE_32);
    put_le(b, u, 4);
}

static void put_bytes(lt_buf *b, unsigned number, const void *data, size_t n)
{
    put_tag(b, number, WIRE_BYTES);
    put_varint(b, n);
    lt_buf_append(b, data, n);
}

/* TFRecord's CRC: rotated and shifted, so that a CRC over data that holds CRCs stays sound. */
static uint32_t masked_crc(const void *data, size_t n)
{
    uint32_t crc = lt_crc32c(0, data, n);

    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void put_record(lt_buf *b, const lt_buf *data)
{
    size_t at = b->size;

    put_le(b, data->size, 8);
    put_le(b, masked_crc(b->data + at, 8), 4);
    lt_buf_append(b, data->data, data->size);
    put_le(b, masked_crc(data->data, data->size), 4);
}

lt_err lt_tb_events_flush(lt_tb_events *w)
{
    lt_err err;

    w->flushed_at = lt_now();
    if (!w->pending.size)
        return LT_OK;
    err = lt_fd_write(w->fd, w->pending.data, w->pending.size, w->path);
    if (err == LT_OK)
        w->size += w->pending.size;
    else if (ftruncate(w->fd, (off_t)w->size) != 0) /* a reader would stop at half a record */
        err = lt_fail_in("and the torn record could not be removed");
    lt_buf_clear(&w->pending);
    return err;
}

static void release(lt_tb_events *w)
{
    if (w->fd >= 0)
        close(w->fd);
    lt_buf_release(&w->pending);
    lt_buf_release(&w->event);
    lt_buf_release(&w->summary);
    lt_buf_release(&w->scalar);
    free(w->path);
    free(w);
}

static char *event_path(const char *dir, double time)
{
    char host[256] = "localhost";

    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        memcpy(host, "localhost", sizeof "localhost");
    return lt_asprintf("%s/events.out.tfevents.%lld.%s.%ld", dir, (long long)time, host,
                       (long)getpid());
}

lt_err lt_tb_events_open(lt_tb_events **out, const char *dir, double flush_seconds)
{
    lt_tb_events *w = lt_new0(sizeof *w);
    double time = lt_wall_time();
    lt_err err;

    w->fd = -1;
    w->flush_seconds = flush_seconds;
    LT_TRY(err = lt_mkdirs(dir));
    /* The name orders files by second; a restart within one second must not share a file. */
    do {
        free(w->path);
        w->path = event_path(dir, time++);
        w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    } while (w->fd < 0 && errno == EEXIST);
    if (w->fd < 0) {
        err = lt_fail(LT_EIO, "%s: %s", w->path, strerror(errno));
        goto fail;
    }
    put_double(&w->event, EVENT_WALL_TIME, lt_wall_time());
    put_bytes(&w->event, EVENT_FILE_VERSION, "brain.Event:2", strlen("brain.Event:2"));
    put_record(&w->pending, &w->event);
    LT_TRY(err = lt_tb_events_flush(w));
    *out = w;
    return LT_OK;
fail:
    release(w);
    return err;
}

static void add_scalar(lt_tb_events *w, const char *tag, double value)
{
    lt_buf_clear(&w->scalar);
    put_bytes(&w->scalar, VALUE_TAG, tag, strlen(tag));
    put_float(&w->scalar, VALUE_SIMPLE, (float)value);
    put_bytes(&w->summary, SUMMARY_VALUE, w->scalar.data, w->scalar.size);
}

/* Turns the scalars added since the last call into one record. */
static void end_event(lt_tb_events *w, uint64_t x, double time)
{
    lt_buf_clear(&w->event);
    put_double(&w->event, EVENT_WALL_TIME, time);
    put_tag(&w->event, EVENT_STEP, WIRE_VARINT);
    put_varint(&w->event, x);
    put_bytes(&w->event, EVENT_SUMMARY, w->summary.data, w->summary.size);
    lt_buf_clear(&w->summary);
    put_record(&w->pending, &w->event);
}

static lt_err flush_when_due(lt_tb_events *w)
{
    return lt_now() - w->flushed_at < w->flush_seconds ? LT_OK : lt_tb_events_flush(w);
}

lt_err lt_tb_events_scalar(lt_tb_events *w, const char *tag, uint64_t x, double time, double value)
{
    add_scalar(w, tag, value);
    end_event(w, x, time);
    return flush_when_due(w);
}

lt_err lt_tb_events_step(lt_tb_events *w, const lt_step_metrics *m)
{
    add_scalar(w, "Train/Samples/train_loss", m->loss);
    add_scalar(w, "Train/Samples/lr", m->lr);
    add_scalar(w, "Train/Samples/loss_scale", m->loss_scale);
    if (m->forward_ms > 0)
        add_scalar(w, "Train/Samples/elapsed_time_ms_forward", m->forward_ms);
    if (m->backward_ms > 0)
        add_scalar(w, "Train/Samples/elapsed_time_ms_backward", m->backward_ms);
    if (m->optimizer_ms > 0)
        add_scalar(w, "Train/Samples/elapsed_time_ms_step", m->optimizer_ms);
    end_event(w, m->samples, m->time);

    add_scalar(w, "train/tokens_per_second", m->tokens_per_s);
    add_scalar(w, "train/grad_norm", m->grad_norm);
    if (m->mfu > 0)
        add_scalar(w, "train/mfu", m->mfu);
    if (m->has_val) {
        add_scalar(w, "eval/loss", m->val_loss);
        add_scalar(w, "eval/perplexity", m->perplexity);
    }
    add_scalar(w, "memory/peak_bytes", (double)(m->device_bytes ? m->device_bytes : m->peak_rss));
    end_event(w, m->step, m->time);
    return flush_when_due(w);
}

lt_err lt_tb_events_close(lt_tb_events *w)
{
    lt_err err;

    if (!w)
        return LT_OK;
    err = lt_tb_events_flush(w);
    release(w);
    return err;
}
