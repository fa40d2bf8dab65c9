/* test_cpu_stream.c - the CPU's communication stream: order, events, a full queue. */
#include "lt_test.h"
#include "device/device.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct append {
    int *list, *n, value, sleep_us;
} append;

static void run_append(void *context)
{
    append *a = context;

    usleep((useconds_t)a->sleep_us);
    a->list[(*a->n)++] = a->value;
}

static int *numbers(lt_dev *dev, int count, int sleep_us, int *n)
{
    int *list = calloc((size_t)count, sizeof *list);

    for (int i = 0; list && i < count; i++) {
        append a = { list, n, i, sleep_us };

        dev->backend->host_task(dev, LT_STREAM_COMM, run_append, &a, sizeof a);
    }
    return list;
}

LT_TEST(cpu_stream_runs_in_order_beside_the_caller)
{
    enum { MANY = 5000 }; /* more than the queue holds */
    lt_dev *dev = NULL;
    int n = 0, *list;

    LT_CHECK_OK(lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }));
    list = numbers(dev, MANY, 0, &n);
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK_INT(n, MANY);
    for (int i = 0; i < MANY; i++)
        LT_CHECK_INT(list[i], i);
    free(list);
    lt_dev_close(dev);
}

LT_TEST(cpu_stream_events_wait_for_what_came_before)
{
    lt_dev *dev = NULL;
    lt_event *early, *late;
    int n = 0, *list;

    LT_CHECK_OK(lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }));
    early = dev->backend->event_new(dev);
    late = dev->backend->event_new(dev);
    dev->backend->event_record(dev, early, LT_STREAM_COMM); /* before anything was given */
    dev->backend->stream_wait(dev, LT_STREAM_COMPUTE, early);
    list = numbers(dev, 3, 2000, &n);
    dev->backend->event_record(dev, late, LT_STREAM_COMM);
    dev->backend->stream_wait(dev, LT_STREAM_COMPUTE, late);
    LT_CHECK_INT(n, 3);
    dev->backend->event_record(dev, late, LT_STREAM_COMPUTE); /* inline work is done */
    LT_CHECK_OK(dev->backend->event_sync(dev, late));
    dev->backend->event_free(dev, early);
    dev->backend->event_free(dev, late);
    lt_dev_close(dev); /* joins the thread */
    free(list);
}
