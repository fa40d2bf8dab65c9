/* device/cuda/cuda_device.cu - the CUDA backend: one GPU, its memory, streams, events.
 *
 * cudart is linked statically and finds the driver at run time, so this also runs, and fails with a
 * sentence, where there is none.  A failed call is kept in the device with the name of the
 * operation at which it was seen and is handed out by the next sync.  A kernel that dies while it
 * runs shows up later: then the operation named is the last one launched.  After such a fault every
 * CUDA call of the process fails; only a new process gets the GPU back. */
#include "device/cuda/cuda.cuh"
#include "device/cuda/cuda_blas.h"
#include "device/cuda/cuda_dnn.h"
#include "device/cuda/cuda_nvml.h"
#include "device/cuda/cuda_pinned.h"
#include "device/cuda/cuda_range.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static lt_cuda_dev *cuda_of(lt_dev *dev)
{
    return (lt_cuda_dev *)dev;
}

static void make_current(lt_dev *dev)
{
    cuda_note(dev, cudaSetDevice(cuda_of(dev)->ordinal)); /* the current GPU belongs to a thread */
}

cudaStream_t cuda_begin(lt_dev *dev, const char *op)
{
    cuda_watch_capture(dev);
    make_current(dev);
    cuda_of(dev)->op = op;
    return cuda_of(dev)->streams[LT_STREAM_COMPUTE];
}

void cuda_note(lt_dev *dev, cudaError_t err)
{
    lt_cuda_dev *d = cuda_of(dev);

    if (err != cudaSuccess && d->fault == cudaSuccess) {
        d->fault = err;
        d->fault_op = d->op;
    }
}

lt_cuda_blas *cuda_blas_of(lt_dev *dev)
{
    return cuda_of(dev)->blas;
}

void cuda_end(lt_dev *dev)
{
    cuda_note(dev, cudaGetLastError());
}

void *cuda_scratch(lt_dev *dev, size_t bytes)
{
    LT_BUG_ON(bytes > dev->scratch_bytes);
    return dev->scratch;
}

lt_err cuda_fault(lt_dev *dev)
{
    lt_cuda_dev *d = cuda_of(dev);

    if (d->fault == cudaSuccess)
        return LT_OK;
    return lt_fail(LT_EFAULT, "device: cuda: GPU %d failed at %s: %s", d->ordinal, d->fault_op,
                   cudaGetErrorString(d->fault));
}

static lt_err take_fault(lt_dev *dev)
{
    lt_err err = cuda_fault(dev);

    if (err != LT_OK)
        (void)cudaGetLastError(); /* else the next launch would be blamed for it */
    cuda_of(dev)->fault = cudaSuccess;
    return err;
}

/* ---- open and close */

static lt_err check_driver(void)
{
    int driver = 0, runtime = CUDART_VERSION;

    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return lt_fail(LT_ENOTSUP, "device: cuda: no NVIDIA driver on this machine; install it, "
                                   "or use device: cpu");
    if (driver / 1000 < runtime / 1000)
        return lt_fail(LT_ENOTSUP,
                       "device: cuda: expected an NVIDIA driver for CUDA %d or newer, found one "
                       "for CUDA %d.%d",
                       runtime / 1000, driver / 1000, driver % 1000 / 10);
    return LT_OK;
}

static lt_err count_gpus(int *n)
{
    cudaError_t e = cudaGetDeviceCount(n);

    if (e == cudaErrorNoDevice || (e == cudaSuccess && *n == 0))
        return lt_fail(LT_ENOTSUP, "device: cuda: the NVIDIA driver sees no GPU");
    if (e != cudaSuccess)
        return lt_fail(LT_EFAULT, "device: cuda: counting GPUs: %s", cudaGetErrorString(e));
    return LT_OK;
}

static lt_err check_gpu(int ordinal)
{
    int n = 0, major = 0;
    cudaError_t e;
    lt_err err;

    LT_TRY(err = count_gpus(&n));
    if (ordinal < 0 || ordinal >= n)
        return lt_fail(LT_EUSAGE, "device: cuda: expected a GPU number of 0 to %d, found %d", n - 1,
                       ordinal);
    e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal);
    if (e != cudaSuccess)
        return lt_fail(LT_EFAULT, "device: cuda: GPU %d: %s", ordinal, cudaGetErrorString(e));
    if (major < 8)
        return lt_fail(LT_ENOTSUP,
                       "device: cuda: GPU %d: expected compute capability 8.0 or newer, found %d.x",
                       ordinal, major);
fail:
    return err;
}

/* Neither call makes a context, so threads that the driver starts with one come after a binding. */
static lt_err cuda_locate(int ordinal, int *n_devices, char bus_id[LT_BUS_ID_BYTES])
{
    cudaError_t e;
    lt_err err;

    LT_TRY(err = check_driver());
    LT_TRY(err = count_gpus(n_devices));
    ordinal %= *n_devices;
    LT_TRY(err = check_gpu(ordinal));
    e = cudaDeviceGetPCIBusId(bus_id, LT_BUS_ID_BYTES, ordinal);
    if (e != cudaSuccess)
        return lt_fail(LT_EFAULT, "device: cuda: GPU %d: %s", ordinal, cudaGetErrorString(e));
    for (char *c = bus_id; *c; c++) /* sysfs has small letters */
        *c = (char)tolower((unsigned char)*c);
fail:
    return err;
}

static void cuda_close(lt_dev *dev)
{
    lt_cuda_dev *d = cuda_of(dev);

    make_current(dev);
    cuda_blas_close(d->blas);
    cuda_dnn_free(d->dnn);
    for (int s = 0; s < LT_N_STREAMS; s++)
        if (d->streams[s])
            (void)cudaStreamDestroy(d->streams[s]);
    free(d);
}

static void open_blas(lt_cuda_dev *d, const lt_dev_options *options)
{
    cudaDeviceProp p;

    if (cudaGetDeviceProperties(&p, d->ordinal) == cudaSuccess)
        d->blas = cuda_blas_open(p.name, d->streams[LT_STREAM_COMPUTE], options);
}

/* Collectives go first where they and a kernel both want a place on the GPU. */
static void open_streams(lt_cuda_dev *d)
{
    int least = 0, greatest = 0;

    cuda_note(&d->base, cudaDeviceGetStreamPriorityRange(&least, &greatest));
    for (int s = 0; s < LT_N_STREAMS; s++)
        cuda_note(&d->base, cudaStreamCreateWithPriority(&d->streams[s], cudaStreamNonBlocking,
                                                         s == LT_STREAM_COMM ? greatest : least));
}

static lt_err cuda_open(lt_dev **out, const lt_dev_options *options)
{
    lt_cuda_dev *d = NULL;
    lt_err err;

    LT_TRY(err = check_driver());
    LT_TRY(err = check_gpu(options->ordinal));
    d = (lt_cuda_dev *)calloc(1, sizeof *d);
    LT_BUG_ON(!d);
    d->base.backend = &lt_backend_cuda;
    d->base.ops = &cuda_ops;
    d->ordinal = options->ordinal;
    d->op = "open";
    make_current(&d->base);
    open_streams(d);
    LT_TRY(err = take_fault(&d->base));
    LT_TRY(err = cuda_dnn_new(&d->dnn, options, d->streams[LT_STREAM_COMPUTE]));
    open_blas(d, options);
    *out = &d->base;
    return LT_OK;
fail:
    if (d)
        cuda_close(&d->base);
    return err;
}

static void cuda_describe(lt_dev *dev, char *text, size_t size)
{
    int driver = 0;
    char blas[64];
    cudaDeviceProp p;

    if (cudaGetDeviceProperties(&p, cuda_of(dev)->ordinal) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess) {
        snprintf(text, size, "GPU %d", cuda_of(dev)->ordinal);
        return;
    }
    cuda_blas_describe(cuda_of(dev)->blas, blas, sizeof blas);
    snprintf(text, size, "%s, %d SMs, %zu GiB, sm_%d%d, CUDA %d.%d, %s", p.name,
             p.multiProcessorCount, p.totalGlobalMem >> 30, p.major, p.minor, driver / 1000,
             driver % 1000 / 10, blas);
}

static void cuda_health(lt_dev *dev, lt_dev_health *out)
{
    char bus_id[32];

    *out = lt_dev_health();
    if (cudaDeviceGetPCIBusId(bus_id, (int)sizeof bus_id, cuda_of(dev)->ordinal) == cudaSuccess)
        cuda_nvml_read(bus_id, out);
}

/* ---- plan */

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static lt_err cuda_plan(const lt_dev_need *need, size_t *scratch_bytes)
{
    int64_t packed = (need->n_head + 2 * need->n_kv_head) * need->head_dim, bytes;

    if (need->act != LT_F32 && need->act != LT_BF16 && need->act != LT_F16)
        return lt_fail(LT_ENOTSUP,
                       "device: cuda: expected activations in fp32, bf16 or fp16, found %s",
                       lt_dtype_name(need->act));
    if (need->grad != LT_F32 && need->grad != need->act)
        return lt_fail(LT_ENOTSUP, "device: cuda: expected gradients in fp32 or %s, found %s",
                       lt_dtype_name(need->act), lt_dtype_name(need->grad));
    if (need->head_dim > CUDA_MAX_HEAD_DIM)
        return lt_fail(LT_ENOTSUP,
                       "device: cuda: expected attention heads of at most %d, found %lld",
                       (int)CUDA_MAX_HEAD_DIM, (long long)need->head_dim);
    if (need->n_batch > CUDA_MAX_GRID_Y)
        return lt_fail(LT_ENOTSUP,
                       "device: cuda: expected a micro-batch of at most %d sequences, found %lld",
                       (int)CUDA_MAX_GRID_Y, (long long)need->n_batch);
    bytes = CUDA_REDUCE_PARTS * max64(need->n_inner, packed) * 4; /* col_sum, matmul */
    bytes = max64(bytes, 2 * CUDA_REDUCE_PARTS * CUDA_MAX_SUMS * need->n_embd * 4); /* norm_grad */
    bytes = max64(bytes, need->n_batch * need->n_head * need->t_q * 4); /* attention_grad */
    bytes = max64(bytes, (max64(need->n_vocab, CUDA_TABLE_ROWS) + 1 + 3 * need->rows) * 4);
    bytes = max64(bytes, CUDA_SUM_BLOCKS * 8);
    bytes = max64(bytes, CUDA_BLAS_WORKSPACE_BYTES);
    if (cuda_dnn_plan(need, scratch_bytes) != LT_OK)
        return lt_fail_in("device: cuda");
    *scratch_bytes = (size_t)max64(bytes, (int64_t)*scratch_bytes);
    return LT_OK;
}

/* ---- memory */

static lt_err alloc_failed(lt_memory kind, size_t bytes, cudaError_t e)
{
    size_t n_free = 0, total = 0;

    (void)cudaGetLastError(); /* this error is reported here and must not stick */
    if (e != cudaErrorMemoryAllocation)
        return lt_fail(LT_EFAULT, "device: cuda: allocating %zu bytes: %s", bytes,
                       cudaGetErrorString(e));
    if (kind == LT_MEMORY_PINNED)
        return lt_fail(LT_ENOMEM, "device: cuda: the host cannot pin %zu bytes of memory", bytes);
    (void)cudaMemGetInfo(&n_free, &total);
    return lt_fail(LT_ENOMEM,
                   "device: cuda: expected %zu bytes of free GPU memory, found %zu of %zu", bytes,
                   n_free, total);
}

static void cuda_free(lt_dev *dev, lt_memory kind, void *data)
{
    make_current(dev);
    cuda_note(dev, kind == LT_MEMORY_PINNED ? cuda_pinned_free(data) : cudaFree(data));
}

static lt_err cuda_alloc(lt_dev *dev, lt_memory kind, size_t bytes, void **out)
{
    cudaStream_t stream = cuda_begin(dev, "alloc");
    size_t size = bytes ? bytes : 1;
    void *data = NULL;
    cudaError_t e;

    if (kind == LT_MEMORY_PINNED) {
        e = cuda_pinned_alloc(out, bytes);
        return e == cudaSuccess ? LT_OK : alloc_failed(kind, bytes, e);
    }
    e = cudaMalloc(&data, size);
    if (e != cudaSuccess)
        return alloc_failed(kind, bytes, e);
    cuda_note(dev, cudaMemsetAsync(data, 0, size, stream));
    cuda_note(dev, cudaStreamSynchronize(stream)); /* any stream may write to it from now on */
    if (cuda_of(dev)->fault != cudaSuccess) {
        cuda_free(dev, kind, data);
        return take_fault(dev);
    }
    *out = data;
    return LT_OK;
}

static void cuda_copy_bytes(lt_dev *dev, lt_stream stream, void *dst, const void *src, size_t bytes)
{
    make_current(dev);
    cuda_note(dev,
              cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, cuda_of(dev)->streams[stream]));
}

/* ---- events: an lt_event is the CUDA event itself */

static cudaEvent_t event_of(lt_event *event)
{
    return reinterpret_cast<cudaEvent_t>(event);
}

static lt_event *cuda_event_new(lt_dev *dev)
{
    cudaEvent_t event = NULL;

    make_current(dev);
    cuda_note(dev, cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return reinterpret_cast<lt_event *>(event);
}

static void cuda_event_free(lt_dev *dev, lt_event *event)
{
    if (event)
        cuda_note(dev, cudaEventDestroy(event_of(event)));
}

static void cuda_event_record(lt_dev *dev, lt_event *event, lt_stream stream)
{
    make_current(dev);
    cuda_note(dev, cudaEventRecord(event_of(event), cuda_of(dev)->streams[stream]));
}

static void cuda_stream_wait(lt_dev *dev, lt_stream stream, lt_event *event)
{
    make_current(dev);
    cuda_note(dev, cudaStreamWaitEvent(cuda_of(dev)->streams[stream], event_of(event), 0));
}

static lt_err cuda_event_sync(lt_dev *dev, lt_event *event)
{
    cuda_note(dev, cudaEventSynchronize(event_of(event)));
    return take_fault(dev);
}

static lt_err cuda_sync(lt_dev *dev)
{
    make_current(dev);
    for (int s = 0; s < LT_N_STREAMS; s++)
        cuda_note(dev, cudaStreamSynchronize(cuda_of(dev)->streams[s]));
    return take_fault(dev);
}

/* A pair that the machine cannot connect is none: its copies are staged by the driver. */
static lt_err cuda_connect(lt_dev *dev, lt_dev *other)
{
    int can = 0, peer = cuda_of(other)->ordinal;
    cudaError_t e = cudaDeviceCanAccessPeer(&can, cuda_of(dev)->ordinal, peer);

    make_current(dev);
    if (e == cudaSuccess && can)
        e = cudaDeviceEnablePeerAccess(peer, 0);
    if (e == cudaErrorPeerAccessAlreadyEnabled)
        e = cudaSuccess;
    (void)cudaGetLastError(); /* that is no fault of the next operation */
    return e == cudaSuccess ? LT_OK
                            : lt_fail(LT_EFAULT, "device: cuda: connecting GPUs %d and %d: %s",
                                      cuda_of(dev)->ordinal, peer, cudaGetErrorString(e));
}

static void *cuda_native_stream(lt_dev *dev, lt_stream stream)
{
    return cuda_of(dev)->streams[stream];
}

const lt_backend lt_backend_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .locate = cuda_locate,
    .close = cuda_close,
    .plan = cuda_plan,
    .describe = cuda_describe,
    .health = cuda_health,
    .tuning_save = lt_cuda_gemm_algorithms,
    .tuning_load = lt_cuda_gemm_load,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .copy = cuda_copy_bytes,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .stream_wait = cuda_stream_wait,
    .event_sync = cuda_event_sync,
    .sync = cuda_sync,
    .connect = cuda_connect,
    .host_task = nullptr,
    .native_stream = cuda_native_stream,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .range_push = cuda_range_push,
    .range_pop = cuda_range_pop,
};
