/* device/cpu_device.c - the CPU backend: memory, streams that run inline, and the choice of the
 * instruction set level.  The kernels themselves are in device/cpu/, compiled once per level. */
#include "base/mem.h"
#include "device/cpu/cpu.h"
#include "device/cpu_stream.h"

#include <cblas.h>
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A sanitizer build has fewer levels. */
extern const lt_cpu_kernels lt_cpu_kernels_base;
extern const lt_cpu_kernels lt_cpu_kernels_v3 __attribute__((weak));
extern const lt_cpu_kernels lt_cpu_kernels_v4 __attribute__((weak));

static bool cpu_is_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool cpu_is_v4(void)
{
    return cpu_is_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512cd");
}

/* Does the processor have AMX for bf16, and does the system let this process use it?  The tile
 * registers are 8 KB more to save for each thread, so Linux (5.16) wants to be asked. */
static bool use_amx_bf16(void)
{
    enum {
        AMX_BF16 = 1u << 22, /* leaf 7, EDX */
        AMX_TILE = 1u << 24,
        TILE_CONFIG = 17, /* components of the saved state, bits of XCR0 */
        TILE_DATA = 18,
        REQUEST_COMPONENT = 0x1023, /* ARCH_REQ_XCOMP_PERM, newer than some headers */
    };
    const unsigned features = AMX_BF16 | AMX_TILE, state = 1u << TILE_CONFIG | 1u << TILE_DATA;
    unsigned a, b, c, d, xcr0, xcr0_high;

    if (!cpu_is_v4() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & features) != features)
        return false;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
    return (xcr0 & state) == state && syscall(SYS_arch_prctl, REQUEST_COMPONENT, TILE_DATA) == 0;
}

static const lt_cpu_kernels *choose_kernels(void)
{
    if (&lt_cpu_kernels_v4 && cpu_is_v4())
        return &lt_cpu_kernels_v4;
    if (&lt_cpu_kernels_v3 && cpu_is_v3())
        return &lt_cpu_kernels_v3;
    return &lt_cpu_kernels_base;
}

static lt_err cpu_open(lt_dev **out, const lt_dev_options *options)
{
    lt_cpu_dev *dev = lt_new0(sizeof *dev);

    /* The pool's workers call OpenBLAS side by side;
     * its own threads would only get in their way. */
    openblas_set_num_threads(1);
    dev->base.backend = &lt_backend_cpu;
    dev->base.ops = &choose_kernels()->ops;
    dev->base.pool = lt_pool_new(options->n_threads);
    dev->comm = lt_cpu_stream_new();
    dev->has_avx512_bf16 = cpu_is_v4() && __builtin_cpu_supports("avx512bf16");
    dev->has_amx_bf16 = use_amx_bf16();
    *out = &dev->base;
    return LT_OK;
}

static void cpu_close(lt_dev *dev)
{
    lt_cpu_stream_free(cpu_of(dev)->comm);
    lt_pool_free(dev->pool);
    free(dev);
}

static lt_err cpu_plan(const lt_dev_need *need, size_t *scratch_bytes)
{
    if (need->act != LT_F32 && need->act != LT_BF16 && need->act != LT_F16)
        return lt_fail(LT_ENOTSUP,
                       "device: cpu: activations in %s: the CPU computes in fp32, bf16 and fp16",
                       lt_dtype_name(need->act));
    if (need->attention == LT_ATTENTION_CUDNN)
        return lt_fail(LT_ENOTSUP, "attention: cudnn: this needs device: cuda");
    *scratch_bytes = choose_kernels()->scratch_bytes(need, need->n_threads > 0 ? need->n_threads
                                                                               : lt_cpu_count());
    return LT_OK;
}

static void cpu_describe(lt_dev *dev, char *text, size_t size)
{
    const char *level = dev->ops == &lt_cpu_kernels_base.ops ? "x86-64"
                        : dev->ops == &lt_cpu_kernels_v3.ops ? "x86-64-v3 (AVX2)"
                                                             : "x86-64-v4 (AVX-512)";

    snprintf(text, size, "cpu, %d threads, %s%s%s", lt_pool_size(dev->pool), level,
             cpu_of(dev)->has_avx512_bf16 ? ", avx512_bf16" : "",
             cpu_of(dev)->has_amx_bf16 ? ", amx_bf16" : "");
}

static void cpu_health(lt_dev *dev, lt_dev_health *out)
{
    (void)dev;
    *out = (lt_dev_health){ 0 };
}

/* Large blocks come from mmap with huge pages asked for: weights and moments are streamed through
 * once a step, and TLB misses cost as much as the memory itself. */
typedef struct block_head {
    size_t mapped_bytes;
} block_head;

enum { BLOCK_ALIGN = 256 };

static lt_err cpu_alloc(lt_dev *dev, lt_memory kind, size_t bytes, void **out)
{
    size_t total = LT_ALIGN_UP(bytes + BLOCK_ALIGN, (size_t)4096);
    char *p;

    (void)dev, (void)kind;
    if (total < bytes)
        return lt_fail(LT_ENOMEM, "device: cpu: no memory for %zu bytes", bytes);
    p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return lt_fail(LT_ENOMEM, "device: cpu: no memory for %zu bytes", bytes);
    madvise(p, total, MADV_HUGEPAGE);
    ((block_head *)p)->mapped_bytes = total;
    *out = p + BLOCK_ALIGN;
    return LT_OK;
}

static void cpu_free(lt_dev *dev, lt_memory kind, void *data)
{
    block_head *head = (block_head *)((char *)data - BLOCK_ALIGN);

    (void)dev, (void)kind;
    munmap(head, head->mapped_bytes);
}

static void cpu_copy_bytes(lt_dev *dev, lt_stream stream, void *dst, const void *src, size_t bytes)
{
    (void)dev;
    LT_BUG_ON(stream == LT_STREAM_COMM);
    memcpy(dst, src, bytes);
}

static lt_event *cpu_event_new(lt_dev *dev)
{
    (void)dev;
    return lt_new0(sizeof(lt_event));
}

static void cpu_event_free(lt_dev *dev, lt_event *event)
{
    (void)dev;
    free(event);
}

/* What an inline stream was given is done. */
static void cpu_event_record(lt_dev *dev, lt_event *event, lt_stream stream)
{
    event->ticket = stream == LT_STREAM_COMM ? lt_cpu_stream_ticket(cpu_of(dev)->comm) : 0;
}

/* The communication stream runs in order itself, and what inline streams were given is done. */
static void cpu_stream_wait(lt_dev *dev, lt_stream stream, lt_event *event)
{
    if (stream != LT_STREAM_COMM)
        lt_cpu_stream_wait(cpu_of(dev)->comm, event->ticket);
}

static lt_err cpu_event_sync(lt_dev *dev, lt_event *event)
{
    lt_cpu_stream_wait(cpu_of(dev)->comm, event->ticket);
    return LT_OK;
}

static lt_err cpu_sync(lt_dev *dev)
{
    lt_cpu_stream_wait(cpu_of(dev)->comm, lt_cpu_stream_ticket(cpu_of(dev)->comm));
    return LT_OK;
}

static void cpu_host_task(lt_dev *dev, lt_stream stream, void (*run)(void *context),
                          const void *context, size_t bytes)
{
    char own[LT_HOST_TASK_BYTES];

    LT_BUG_ON(bytes > sizeof own);
    if (stream == LT_STREAM_COMM) {
        lt_cpu_stream_put(cpu_of(dev)->comm, run, context, bytes);
        return;
    }
    memcpy(own, context, bytes);
    run(own);
}

static void *cpu_native_stream(lt_dev *dev, lt_stream stream)
{
    (void)dev, (void)stream;
    return NULL;
}

const lt_backend lt_backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .plan = cpu_plan,
    .describe = cpu_describe,
    .health = cpu_health,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .copy = cpu_copy_bytes,
    .event_new = cpu_event_new,
    .event_free = cpu_event_free,
    .event_record = cpu_event_record,
    .stream_wait = cpu_stream_wait,
    .event_sync = cpu_event_sync,
    .sync = cpu_sync,
    .host_task = cpu_host_task,
    .native_stream = cpu_native_stream,
};
