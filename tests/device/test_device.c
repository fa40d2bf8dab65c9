/* test_device.c - what a device owes besides its operations: memory, streams, events, recording.
 *
 * Runs on the device that LT_TEST_DEVICE names (cpu). */
#include "lt_test.h"
#include "base/mem.h"
#include "device/device.h"

#include <stdlib.h>

static lt_dev *open_device(void)
{
    const char *name = getenv("LT_TEST_DEVICE");
    lt_dev *dev = NULL;

    LT_BUG_ON(lt_dev_open(&dev, name ? name : "cpu", &(lt_dev_options){ .n_threads = 1 }) != LT_OK);
    return dev;
}

static bool all_bytes(const uint8_t *p, size_t n, uint8_t value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

/* Small pinned blocks and large ones come from different places. */
LT_TEST(device_pinned_memory_is_zeroed_and_can_be_copied)
{
    static const size_t sizes[] = { 1, 4096, 63 << 20, 64 << 20, (70 << 20) + 12345 };
    lt_dev *dev = open_device();

    for (size_t i = 0; i < LT_COUNT(sizes); i++) {
        size_t n = sizes[i];
        void *pinned, *device;
        uint8_t *p;

        LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_PINNED, n, &pinned));
        LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_DEVICE, n, &device));
        p = pinned;
        LT_CHECK_INT((uintptr_t)pinned % 256, 0);
        LT_CHECK_INT((uintptr_t)device % 256, 0);
        LT_CHECK(all_bytes(p, n, 0));
        memset(p, 7, n);
        lt_dev_copy(dev, LT_STREAM_COPY_IN, device, pinned, n);
        LT_CHECK_OK(lt_dev_sync(dev));
        memset(p, 9, n);
        lt_dev_copy(dev, LT_STREAM_COPY_OUT, pinned, device, n);
        LT_CHECK_OK(lt_dev_sync(dev));
        LT_CHECK(all_bytes(p, n, 7));
        lt_dev_free(dev, LT_MEMORY_PINNED, pinned);
        lt_dev_free(dev, LT_MEMORY_DEVICE, device);
    }
    lt_dev_close(dev);
}

/* What a stream was given before an event is done for those that wait for it.  A stream with work
 * of its own: copies on a GPU's communication stream; a CPU's runs host tasks
 * (test_cpu_stream.c). */
LT_TEST(device_events_order_streams)
{
    enum { N = 32 << 20, ROUNDS = 8 };
    lt_dev *dev = open_device();
    const lt_backend *b = dev->backend;
    lt_stream other = b->host_task ? LT_STREAM_COPY_OUT : LT_STREAM_COMM;
    lt_event *filled = b->event_new(dev), *copied = b->event_new(dev);
    void *from, *to, *host;

    LT_CHECK((b->native_stream(dev, LT_STREAM_COMM) == NULL) == (b->host_task != NULL));
    LT_CHECK_OK(b->event_sync(dev, filled)); /* never recorded: nothing to wait for */
    LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_DEVICE, N, &from));
    LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_DEVICE, N, &to));
    LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_PINNED, N, &host));
    for (uint8_t round = 1; round <= ROUNDS; round++) {
        memset(host, round, N);
        lt_dev_copy(dev, LT_STREAM_COMPUTE, from, host, N);
        b->event_record(dev, filled, LT_STREAM_COMPUTE);
        b->stream_wait(dev, other, filled);
        lt_dev_copy(dev, other, to, from, N);
        b->event_record(dev, copied, other);
        b->stream_wait(dev, LT_STREAM_COMPUTE, copied);
        dev->ops->zero(dev, from, N); /* too early, and the copy would see it */
        LT_CHECK_OK(b->event_sync(dev, copied));
        memset(host, 0xff, N);
        lt_dev_copy(dev, LT_STREAM_COMPUTE, host, to, N);
        LT_CHECK_OK(lt_dev_sync(dev));
        LT_CHECK(all_bytes(host, N, round));
    }
    lt_dev_free(dev, LT_MEMORY_DEVICE, from);
    lt_dev_free(dev, LT_MEMORY_DEVICE, to);
    lt_dev_free(dev, LT_MEMORY_PINNED, host);
    b->event_free(dev, filled);
    b->event_free(dev, copied);
    lt_dev_close(dev);
}

static float fetch(lt_dev *dev, const void *x)
{
    float host = -1;

    lt_dev_copy(dev, LT_STREAM_COMPUTE, &host, x, sizeof host);
    return lt_dev_sync(dev) == LT_OK ? host : -1;
}

/* x (1, 2): x[1] += x[0] as a column sum, which takes scratch. */
static void add_one(lt_dev *dev, float *x)
{
    dev->ops->col_sum(dev, lt_vector(x + 1, LT_F32, 1), lt_matrix(x, LT_F32, 1, 1), true);
}

LT_TEST(device_graphs_run_what_was_recorded_as_often_as_wanted)
{
    lt_dev *dev = open_device();
    const lt_backend *b = dev->backend;
    const lt_dev_need need = { .act = LT_F32, .grad = LT_F32, .rows = 1, .n_embd = 1 };
    const float start[2] = { 1, 0 };
    lt_graph *graph;
    void *x;

    if (!b->capture_begin) {
        lt_dev_close(dev);
        lt_test_skip("this device records nothing");
        return;
    }
    LT_CHECK_OK(lt_dev_reserve(dev, &need));
    LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_DEVICE, sizeof start, &x));
    lt_dev_copy(dev, LT_STREAM_COMPUTE, x, start, sizeof start);
    add_one(dev, x);
    LT_CHECK_OK(b->capture_begin(dev));
    add_one(dev, x);
    add_one(dev, x);
    LT_CHECK_OK(b->capture_end(dev, &graph));
    LT_CHECK(fetch(dev, (float *)x + 1) == 1); /* recorded, not run */
    for (int i = 0; i < 3; i++)
        b->graph_launch(dev, graph);
    LT_CHECK(fetch(dev, (float *)x + 1) == 7);
    b->graph_free(dev, graph);
    lt_dev_free(dev, LT_MEMORY_DEVICE, x);
    lt_dev_close(dev);
}

LT_TEST(device_names_what_cannot_be_recorded_and_goes_on)
{
    lt_dev *dev = open_device();
    const lt_backend *b = dev->backend;
    lt_graph *graph;
    void *x, *y;

    if (!b->capture_begin) {
        lt_dev_close(dev);
        lt_test_skip("this device records nothing");
        return;
    }
    LT_CHECK_OK(lt_dev_alloc(dev, LT_MEMORY_DEVICE, 4, &x));
    LT_CHECK_OK(b->capture_begin(dev));
    dev->ops->zero(dev, x, 4);
    LT_CHECK(lt_dev_alloc(dev, LT_MEMORY_DEVICE, 4, &y) != LT_OK);
    dev->ops->zero(dev, x, 4);
    LT_CHECK_INT(b->capture_end(dev, &graph), LT_EFAULT);
    LT_CHECK(strstr(lt_err_text(), "failed at alloc: ") != NULL);
    LT_CHECK_INT(lt_dev_sync(dev), LT_EFAULT); /* sticks until then */
    LT_CHECK(strstr(lt_err_text(), "failed at alloc: ") != NULL);
    dev->ops->zero(dev, x, 4);
    LT_CHECK(fetch(dev, x) == 0);
    lt_dev_free(dev, LT_MEMORY_DEVICE, x);
    lt_dev_close(dev);
}
