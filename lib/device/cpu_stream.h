/* device/cpu_stream.h - a stream of a CPU device that is a thread: tasks run in order.
 *
 * The thread starts with the first task, so a process that never communicates has none. */
#ifndef LT_DEVICE_CPU_STREAM_H
#define LT_DEVICE_CPU_STREAM_H

#include "device/device.h"

/* What had been given to the stream when the event was recorded; 0: nothing to wait for. */
struct lt_event {
    uint64_t ticket;
};

typedef struct lt_cpu_stream lt_cpu_stream;

lt_cpu_stream *lt_cpu_stream_new(void);
void lt_cpu_stream_free(lt_cpu_stream *s); /* NULL is fine; runs what was given first */

/* Waits while the queue is full.  One thread gives. */
void lt_cpu_stream_put(lt_cpu_stream *s, void (*run)(void *context), const void *context,
                       size_t bytes);
uint64_t lt_cpu_stream_ticket(lt_cpu_stream *s); /* of the last task given */
void lt_cpu_stream_wait(lt_cpu_stream *s, uint64_t ticket);

#endif
