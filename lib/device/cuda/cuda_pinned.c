/* device/cuda/cuda_pinned.c - large blocks from huge pages, small ones from the driver. */
#include "device/cuda/cuda_pinned.h"
#include "base/mem.h"
#include "base/thread.h"

#include <string.h>
#include <sys/mman.h>

enum { HEAD_BYTES = 256, PAGE_BYTES = 4096, HUGE_BYTES = 2 << 20, MOST_THREADS = 16 };
static const size_t large_bytes = 64 << 20;

/* Stands HEAD_BYTES before the caller's memory. */
typedef struct pinned_head {
    size_t mapped_bytes; /* 0: the driver's memory */
} pinned_head;

typedef struct touch_task {
    lt_task task;
    volatile char *memory;
    size_t bytes;
} touch_task;

/* Pages come into being when they are written to first. */
static void touch(lt_task *task, int64_t index, int worker)
{
    touch_task *t = (touch_task *)task;
    size_t first = (size_t)index * large_bytes, end = first + large_bytes;

    (void)worker;
    for (size_t at = first; at < end && at < t->bytes; at += PAGE_BYTES)
        t->memory[at] = 0;
}

static cudaError_t map_huge(void **out, size_t bytes)
{
    int n_threads = lt_cpu_count() < MOST_THREADS ? lt_cpu_count() : MOST_THREADS;
    touch_task t = { .task = { touch }, .bytes = LT_ALIGN_UP(bytes, (size_t)HUGE_BYTES) };
    lt_pool *pool;
    cudaError_t err;
    void *p = mmap(NULL, t.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    (void)madvise(p, t.bytes, MADV_HUGEPAGE);
    t.memory = p;
    pool = lt_pool_new(n_threads);
    lt_pool_run(pool, &t.task, (int64_t)((t.bytes + large_bytes - 1) / large_bytes));
    lt_pool_free(pool);
    err = cudaHostRegister(p, t.bytes, cudaHostRegisterPortable);
    if (err != cudaSuccess) {
        (void)munmap(p, t.bytes);
        return err;
    }
    ((pinned_head *)p)->mapped_bytes = t.bytes;
    *out = p;
    return cudaSuccess;
}

cudaError_t cuda_pinned_alloc(void **out, size_t bytes)
{
    size_t total = bytes + HEAD_BYTES;
    void *p = NULL;
    cudaError_t err;

    if (total < bytes)
        return cudaErrorMemoryAllocation;
    if (bytes >= large_bytes) {
        err = map_huge(&p, total);
    } else {
        err = cudaHostAlloc(&p, total, cudaHostAllocPortable);
        if (err == cudaSuccess)
            memset(p, 0, total);
    }
    if (err == cudaSuccess)
        *out = (char *)p + HEAD_BYTES;
    return err;
}

cudaError_t cuda_pinned_free(void *data)
{
    pinned_head *head = (pinned_head *)((char *)data - HEAD_BYTES);
    size_t mapped = head->mapped_bytes;
    cudaError_t err;

    if (mapped == 0)
        return cudaFreeHost(head);
    err = cudaHostUnregister(head);
    (void)munmap(head, mapped);
    return err;
}
