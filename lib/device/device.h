/* device/device.h - a device: memory, streams, events, and the operation table (device/ops.h).
 *
 * A backend embeds lt_dev as its first member.  Nothing allocates inside a step: arenas and scratch
 * are sized by the plan and taken before step 1.  Operations run on the compute stream; copies name
 * theirs; events order streams.  On the CPU every stream but LT_STREAM_COMM runs inline. */
#ifndef LT_DEVICE_DEVICE_H
#define LT_DEVICE_DEVICE_H

#include "base/thread.h"
#include "device/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_stream {
    LT_STREAM_COMPUTE,
    LT_STREAM_COPY_IN,
    LT_STREAM_COPY_OUT,
    LT_STREAM_COMM, /* collectives; on a CPU a thread of its own that runs them in order */
    LT_N_STREAMS
} lt_stream;
enum { LT_HOST_TASK_BYTES = 192, LT_BUS_ID_BYTES = 32 };
typedef enum lt_memory { LT_MEMORY_DEVICE, LT_MEMORY_PINNED } lt_memory;
typedef struct lt_event lt_event;
typedef struct lt_graph lt_graph;
struct lt_buf; /* base/mem.h */
typedef struct lt_backend lt_backend;

/* The largest shapes of a run: from these a backend says, without opening a device, whether it can
 * do the work and how much scratch its operations need. */
typedef struct lt_dev_need {
    lt_dtype act, grad;
    int64_t rows; /* R */
    int64_t n_embd, n_inner, n_head, n_kv_head, head_dim;
    int64_t n_batch, t_q, t_k;
    int64_t chunk_rows, n_vocab; /* physical */
    int n_threads;               /* CPU; 0: all */
    lt_attention_kind attention; /* GPU */
} lt_dev_need;

typedef struct lt_dev_options {
    int n_threads; /* CPU; 0: all */
    int ordinal;   /* GPU */
    bool deterministic;
    bool allow_tf32;             /* GPU: fp32 products may round their operands to TF32 */
    lt_attention_kind attention; /* GPU */
} lt_dev_options;

/* How the device is doing right now; all 0 where nobody can tell (a CPU, a driver without NVML). */
typedef struct lt_dev_health {
    double power_w, sm_mhz, temperature_c;
    uint64_t memory_used; /* of the whole device, by everybody */
    char throttle[48];    /* what holds the clocks down: "power cap", "thermal", ...; "": nothing */
} lt_dev_health;

struct lt_dev {
    const lt_backend *backend;
    const lt_ops *ops;
    lt_pool *pool; /* host threads for CPU work; NULL on a GPU */
    void *scratch; /* device memory for the operations' own use */
    size_t scratch_bytes;
};

struct lt_backend {
    const char *name; /* "cpu", "cuda" */
    lt_err (*open)(lt_dev **out, const lt_dev_options *options);
    /* Before anything is opened: how many GPUs this process sees, and the PCI bus id of number
     * `ordinal` mod that, once it is known to do our work.  NULL on a CPU. */
    lt_err (*locate)(int ordinal, int *n_devices, char bus_id[LT_BUS_ID_BYTES]);
    void (*close)(lt_dev *dev);
    /* LT_ENOTSUP with a sentence when it cannot; else the scratch its operations need */
    lt_err (*plan)(const lt_dev_need *need, size_t *scratch_bytes);
    /* "2 threads of AMD EPYC, avx512_bf16" */
    void (*describe)(lt_dev *dev, char *text, size_t size);
    void (*health)(lt_dev *dev, lt_dev_health *out);
    /* Choices that decide bits (tuned GEMM algorithms) as text for a checkpoint, and back; both
     * NULL where nothing is chosen.  What is loaded replaces what was chosen before, in every call
     * that is enqueued from then on (but not in graphs).  LT_EMISMATCH: made on another kind of
     * device or library. */
    void (*tuning_save)(lt_dev *dev, struct lt_buf *out);
    lt_err (*tuning_load)(lt_dev *dev, const char *text, size_t n, const char *source);

    /* zeroed, 256-byte aligned; bytes > 0 */
    lt_err (*alloc)(lt_dev *dev, lt_memory kind, size_t bytes, void **out);
    void (*free)(lt_dev *dev, lt_memory kind, void *data);
    void (*copy)(lt_dev *dev, lt_stream stream, void *dst, const void *src, size_t bytes);
    lt_event *(*event_new)(lt_dev *dev);
    void (*event_free)(lt_dev *dev, lt_event *event); /* NULL is fine */
    void (*event_record)(lt_dev *dev, lt_event *event, lt_stream stream);
    void (*stream_wait)(lt_dev *dev, lt_stream stream, lt_event *event);
    lt_err (*event_sync)(lt_dev *dev, lt_event *event); /* the host waits; returns a stuck fault */
    lt_err (*sync)(lt_dev *dev);                        /* everything done; returns a stuck fault */

    /* Copies between the two devices of this process go straight from one to the other where the
     * machine can, not through the host; NULL where memory is one. */
    lt_err (*connect)(lt_dev *dev, lt_dev *other);

    /* Work of the host in a stream's order: at once on an inline stream, else by the stream's
     * thread.  The context is copied, at most LT_HOST_TASK_BYTES.  NULL on a GPU. */
    void (*host_task)(lt_dev *dev, lt_stream stream, void (*run)(void *context),
                      const void *context, size_t bytes);
    /* What a library that enqueues for itself needs (cudaStream_t); NULL on a CPU. */
    void *(*native_stream)(lt_dev *dev, lt_stream stream);

    /* Compute work between begin and end is recorded instead of run, then launched as often as
     * wanted with the same addresses.  A failure sticks to the device as well.  All four NULL where
     * launches cost nothing. */
    lt_err (*capture_begin)(lt_dev *dev);
    lt_err (*capture_end)(lt_dev *dev, lt_graph **out);
    void (*graph_launch)(lt_dev *dev, lt_graph *graph);
    void (*graph_free)(lt_dev *dev, lt_graph *graph);
    /* A named range of host time for a profiler's time line; NULL: nobody looks. */
    void (*range_push)(lt_dev *dev, const char *name);
    void (*range_pop)(lt_dev *dev);
};

extern const lt_backend lt_backend_cpu;
extern const lt_backend lt_backend_cuda; /* cuda/ or cuda_absent.c, chosen by the Makefile */

/* "cpu", "cuda" or "auto" (cuda when one opens). */
LT_MUST_USE lt_err lt_dev_open(lt_dev **out, const char *name, const lt_dev_options *options);
void lt_dev_close(lt_dev *dev); /* NULL is fine */
/* Backend by name, for planning without a device; NULL if unknown. */
const lt_backend *lt_backend_find(const char *name);

/* Takes the scratch that `need` asks for (grows only). */
LT_MUST_USE lt_err lt_dev_reserve(lt_dev *dev, const lt_dev_need *need);

static inline lt_err lt_dev_sync(lt_dev *dev)
{
    return dev->backend->sync(dev);
}
/* out: the address of a pointer of any type; bytes 0: NULL. */
static inline lt_err lt_dev_alloc(lt_dev *dev, lt_memory kind, size_t bytes, void *out)
{
    void *p = NULL;
    lt_err err = bytes ? dev->backend->alloc(dev, kind, bytes, &p) : LT_OK;

    if (err == LT_OK)
        *(void **)out = p;
    return err;
}
static inline void lt_dev_free(lt_dev *dev, lt_memory kind, void *data)
{
    if (data)
        dev->backend->free(dev, kind, data);
}
static inline void lt_dev_copy(lt_dev *dev, lt_stream stream, void *dst, const void *src,
                               size_t bytes)
{
    dev->backend->copy(dev, stream, dst, src, bytes);
}

#ifdef __cplusplus
}
#endif
#endif
