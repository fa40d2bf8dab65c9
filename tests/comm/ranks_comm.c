/* ranks_comm.c - every collective on every rank, against what one rank computes for itself.
 *
 * An input is a formula of (rank, element), so each rank knows what all the others hold.  CPU ranks
 * must have the bits of a sum in rank order; NCCL chooses its order, so there a bound holds. */
#include "comm/comm_parts.h"
#include "lt_ranks.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { N_MAX = 70001, GUARD = 0x5a };
static const int64_t sizes[] = { 0, 1, 3, 127, 1024, 4097, N_MAX };
static const lt_dtype float_types[] = { LT_F32, LT_BF16, LT_F16 };

/* Magnitudes from 2^-8 to 2^12: the order of a sum shows in its bits. */
static float value(int rank, int64_t i)
{
    uint64_t h =
        (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)(rank + 3) * 0xc2b2ae3d27d4eb4fu;

    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 32;
    return ldexpf((float)(int)(h % 2001) - 1000, (int)(h >> 40) % 11 - 8);
}

/* n elements of a rank in `type`; malloc'ed, never NULL */
static void *input(int rank, lt_dtype type, int64_t n)
{
    float *x = malloc((size_t)n * 4 + 1);
    void *out = malloc((size_t)n * lt_dtype_bytes(type) + 1);

    for (int64_t i = 0; i < n; i++)
        x[i] = value(rank, i);
    lt_convert(out, type, x, LT_F32, (size_t)n);
    free(x);
    return out;
}

/* Device memory with one guard byte behind it. */
static void *device_copy(const void *data, size_t bytes)
{
    const char guard = GUARD;
    void *p = NULL;

    if (lt_dev_alloc(lt_ranks_device(), LT_MEMORY_DEVICE, bytes + 1, &p) != LT_OK)
        return NULL;
    if (data && bytes > 0)
        lt_dev_copy(lt_ranks_device(), LT_STREAM_COPY_IN, p, data, bytes);
    lt_dev_copy(lt_ranks_device(), LT_STREAM_COPY_IN, (char *)p + bytes, &guard, 1);
    return lt_dev_sync(lt_ranks_device()) == LT_OK ? p : NULL;
}

/* What device memory holds, malloc'ed, after all work is done; NULL when it is damaged behind. */
static void *host_copy(const void *p, size_t bytes)
{
    char *out = malloc(bytes + 1);

    if (lt_dev_sync(lt_ranks_device()) != LT_OK)
        return NULL;
    lt_dev_copy(lt_ranks_device(), LT_STREAM_COPY_OUT, out, p, bytes + 1);
    return lt_dev_sync(lt_ranks_device()) == LT_OK && out[bytes] == GUARD ? out : NULL;
}

static void release(void *host, void *device)
{
    free(host);
    lt_dev_free(lt_ranks_device(), LT_MEMORY_DEVICE, device);
}

static bool is_exact(const lt_comm *comm)
{
    return strcmp(comm->ops->name, "nccl") != 0;
}

/* The sum over ranks of elements [first, first + n), in rank order, rounded once. */
static float *expected_sum(lt_dtype type, int world, int64_t first, int64_t n)
{
    float *sum = calloc((size_t)n + 1, 4), x;
    void *rounded = malloc((size_t)n * 4 + 4);

    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < world; r++) {
            float v = value(r, first + i);

            lt_convert(rounded, type, &v, LT_F32, 1);
            lt_convert(&x, LT_F32, rounded, type, 1);
            sum[i] = r == 0 ? x : sum[i] + x;
        }
    lt_convert(rounded, type, sum, LT_F32, (size_t)n);
    lt_convert(sum, LT_F32, rounded, type, (size_t)n);
    free(rounded);
    return sum;
}

/* reduce_scatter of n elements a rank; the result as fp32, malloc'ed, NULL on a failure. */
static float *reduce(lt_comm *comm, lt_dtype type, int64_t n, bool in_place)
{
    const size_t size = lt_dtype_bytes(type), part = (size_t)n * size;
    void *host = input(comm->rank, type, comm->world * n), *result;
    void *in = device_copy(host, part * (size_t)comm->world);
    void *out = in_place ? (char *)in + (size_t)comm->rank * part : device_copy(NULL, part);
    float *sum = malloc((size_t)n * 4 + 4);
    char *all;

    comm->ops->reduce_scatter(comm, lt_vector(out, type, n), lt_vector(in, type, comm->world * n));
    all = host_copy(in, part * (size_t)comm->world);
    result = in_place ? all : host_copy(out, part);
    if (!all || !result || comm->ops->check(comm) != LT_OK) {
        free(sum);
        return NULL;
    }
    lt_convert(sum, LT_F32, in_place ? all + (size_t)comm->rank * part : result, type, (size_t)n);
    if (!in_place)
        release(result, out);
    free(host);
    release(all, in);
    return sum;
}

static void check_reduce(lt_comm *comm, lt_dtype type, int64_t n, bool in_place)
{
    float *sum = reduce(comm, type, n, in_place);
    float *expected = expected_sum(type, comm->world, comm->rank * n, n);
    float step = type == LT_F32 ? 0x1p-21f : type == LT_BF16 ? 0x1p-6f : 0x1p-9f;

    LT_FAIL_IF(!sum, "%s", lt_err_text());
    for (int64_t i = 0; i < n; i++) {
        float bound = is_exact(comm) ? 0 : step * 16384;

        LT_FAIL_IF(!(fabsf(sum[i] - expected[i]) <= bound),
                   "%s, %lld elements%s: element %lld is %.9g, expected %.9g", lt_dtype_name(type),
                   (long long)n, in_place ? " in place" : "", (long long)i, (double)sum[i],
                   (double)expected[i]);
    }
    free(sum);
    free(expected);
}

LT_TEST(reduce_scatter_sums_in_rank_order)
{
    lt_comm *comm = NULL;

    LT_CHECK_OK(lt_comm_open(&comm, lt_ranks_device(), lt_ranks_group(), false));
    for (size_t s = 0; s < LT_COUNT(sizes); s++)
        for (size_t t = 0; t < LT_COUNT(float_types); t++)
            for (int in_place = 0; in_place < 2; in_place++)
                check_reduce(comm, float_types[t], sizes[s], in_place);
    lt_comm_close(comm);
}

/* Sums in pieces of any size have the same bits; gathers and broadcasts in messages of any size. */
LT_TEST(bits_do_not_depend_on_the_size_of_pieces)
{
    static const size_t piece_bytes[] = { 8, 100, 4096, 1 << 20 };
    lt_comm *comm = NULL;

    if (lt_ranks_group()->launcher != LT_LAUNCH_MPI || lt_ranks_group()->world == 1 ||
        lt_ranks_device()->backend != &lt_backend_cpu) {
        lt_test_skip("these are not several CPU ranks");
        return;
    }
    for (size_t p = 0; p < LT_COUNT(piece_bytes); p++) {
        LT_CHECK_OK(lt_comm_mpi_open_sized(&comm, lt_ranks_device(), lt_ranks_group(), false,
                                           piece_bytes[p], 4096));
        for (size_t t = 0; t < LT_COUNT(float_types); t++)
            check_reduce(comm, float_types[t], 4097, p % 2);
        lt_comm_close(comm);
    }
}

static void check_gather(lt_comm *comm, lt_dtype type, int64_t n, bool in_place)
{
    const size_t part = (size_t)n * lt_dtype_bytes(type), all = part * (size_t)comm->world;
    void *host = input(comm->rank, type, n);
    void *out = device_copy(NULL, all);
    void *in = in_place ? (char *)out + (size_t)comm->rank * part : device_copy(host, part);
    char *result;

    LT_CHECK(in && out);
    if (in_place && part > 0)
        lt_dev_copy(lt_ranks_device(), LT_STREAM_COPY_IN, in, host, part);
    LT_CHECK_OK(lt_dev_sync(lt_ranks_device()));
    comm->ops->all_gather(comm, lt_vector(out, type, comm->world * n), lt_vector(in, type, n));
    result = host_copy(out, all);
    LT_CHECK(result);
    LT_CHECK_OK(comm->ops->check(comm));
    for (int r = 0; r < comm->world; r++) {
        void *theirs = input(r, type, n);

        LT_FAIL_IF(memcmp(theirs, result + (size_t)r * part, part) != 0,
                   "%lld %s%s: part %d differs", (long long)n, lt_dtype_name(type),
                   in_place ? " in place" : "", r);
        free(theirs);
    }
    if (!in_place)
        release(NULL, in);
    free(host);
    release(result, out);
}

static void check_broadcast(lt_comm *comm, lt_dtype type, int64_t n, int root)
{
    const size_t bytes = (size_t)n * lt_dtype_bytes(type);
    void *host = input(comm->rank, type, n), *theirs = input(root, type, n);
    void *x = device_copy(host, bytes), *result;

    comm->ops->broadcast(comm, lt_vector(x, type, n), root);
    result = host_copy(x, bytes);
    LT_CHECK(result);
    LT_CHECK_OK(comm->ops->check(comm));
    LT_FAIL_IF(memcmp(theirs, result, bytes) != 0, "%lld %s from rank %d differ", (long long)n,
               lt_dtype_name(type), root);
    free(theirs);
    free(host);
    release(result, x);
}

LT_TEST(all_gather_and_broadcast_move_every_type)
{
    lt_comm *comm = NULL;

    LT_CHECK_OK(lt_comm_open(&comm, lt_ranks_device(), lt_ranks_group(), false));
    for (size_t s = 0; s < LT_COUNT(sizes); s++)
        for (int type = 0; type < LT_N_DTYPES; type++) {
            check_gather(comm, (lt_dtype)type, sizes[s], false);
            check_gather(comm, (lt_dtype)type, sizes[s], true);
            check_broadcast(comm, (lt_dtype)type, sizes[s], type % comm->world);
        }
    lt_comm_close(comm);
}

LT_TEST(messages_of_any_size_carry_the_same)
{
    lt_comm *comm = NULL;

    if (lt_ranks_group()->launcher != LT_LAUNCH_MPI || lt_ranks_group()->world == 1 ||
        lt_ranks_device()->backend != &lt_backend_cpu) {
        lt_test_skip("these are not several CPU ranks");
        return;
    }
    LT_CHECK_OK(
        lt_comm_mpi_open_sized(&comm, lt_ranks_device(), lt_ranks_group(), false, 4096, 1001));
    for (int in_place = 0; in_place < 2; in_place++) {
        check_gather(comm, LT_BF16, 4097, in_place);
        check_gather(comm, LT_U8, 1001, in_place);
    }
    check_broadcast(comm, LT_F32, 4097, comm->world - 1);
    lt_comm_close(comm);
}

/* A chain as a step has it: each waits for the one before by the order of the stream alone. */
LT_TEST(collectives_run_in_the_order_of_the_stream)
{
    enum { N = 5000, ROUNDS = 20 };
    lt_dev *dev = lt_ranks_device();
    lt_comm *comm = NULL;
    lt_event *done = dev->backend->event_new(dev);
    int world = lt_ranks_group()->world;
    float *host = malloc(sizeof *host * N * (size_t)world), expected = 1;
    float *x, *result;

    LT_CHECK_OK(lt_comm_open(&comm, dev, lt_ranks_group(), true));
    for (int i = 0; i < N * world; i++)
        host[i] = 1;
    x = device_copy(host, sizeof *host * N * (size_t)world);
    for (int k = 0; k < ROUNDS; k++) {
        lt_tensor all = lt_vector(x, LT_F32, N * (int64_t)world);
        lt_tensor own = lt_block(all, 0, 1, comm->rank * (int64_t)N, N);

        comm->ops->reduce_scatter(comm, own, all);
        comm->ops->group_begin(comm);
        comm->ops->all_gather(comm, all, own);
        comm->ops->group_end(comm);
        comm->ops->broadcast(comm, own, 0);
        expected *= (float)world; /* at most 4^20: exact */
    }
    dev->backend->event_record(dev, done, LT_STREAM_COMM);
    LT_CHECK_OK(dev->backend->event_sync(dev, done));
    LT_CHECK_OK(comm->ops->check(comm));
    result = host_copy(x, sizeof *host * N * (size_t)world);
    LT_CHECK(result);
    for (int i = 0; i < N * world; i++)
        LT_FAIL_IF(result[i] != expected, "element %d is %g, expected %g", i, (double)result[i],
                   (double)expected);
    lt_comm_close(comm);
    dev->backend->event_free(dev, done);
    free(host);
    release(result, x);
}

LT_TEST(debug_names_the_rank_and_the_call_that_differ)
{
    lt_comm *comm = NULL;
    int world = lt_ranks_group()->world, odd = world - 1;
    uint16_t *x;
    lt_tensor all;
    char part[128];

    if (world == 1) {
        lt_test_skip("one rank cannot differ from itself");
        return;
    }
    if (lt_ranks_group()->rank == odd) /* it is enough when one rank is asked to */
        setenv("LT_DEBUG_COMM", "1", 1);
    LT_CHECK_OK(lt_comm_open(&comm, lt_ranks_device(), lt_ranks_group(), false));
    unsetenv("LT_DEBUG_COMM");
    x = device_copy(NULL, 2 * 64 * (size_t)world);
    all = lt_vector(x, LT_BF16, 64 * world);
    comm->ops->all_gather(comm, all, lt_block(all, 0, 1, 64 * comm->rank, 64));
    LT_CHECK_OK(lt_dev_sync(lt_ranks_device()));
    LT_CHECK_OK(comm->ops->check(comm));
    if (comm->rank == odd)
        comm->ops->reduce_scatter(comm, lt_block(all, 0, 1, 64 * comm->rank, 64), all);
    else
        comm->ops->broadcast(comm, all, 1);
    comm->ops->all_gather(comm, all, lt_block(all, 0, 1, 64 * comm->rank, 64)); /* does nothing */
    LT_CHECK_OK(lt_dev_sync(lt_ranks_device()));
    snprintf(part, sizeof part, "call 2: reduce_scatter of %d bf16; rank 0 (%s)", 64 * world,
             lt_ranks_group()->host);
    LT_CHECK_FAILS(comm->ops->check(comm), LT_EFAULT, part);
    snprintf(part, sizeof part, "the ranks call different collectives: rank %d (", odd);
    LT_CHECK_FAILS(comm->ops->check(comm), LT_EFAULT, part);
    snprintf(part, sizeof part, "call 2: broadcast of %d bf16 from rank 1", 64 * world);
    LT_CHECK_FAILS(comm->ops->check(comm), LT_EFAULT, part);
    lt_comm_close(comm);
    release(NULL, x);
    LT_CHECK_OK(lt_group_barrier(lt_ranks_group())); /* the group itself is whole */
}

/* Not a test: the last rank dies inside a collective of all; the launcher has to end the rest. */
LT_TEST(on_purpose_die_inside_a_collective)
{
    enum { N = 1 << 20 };
    lt_comm *comm = NULL;
    int world = lt_ranks_group()->world;
    float *x = device_copy(NULL, 4 * (size_t)N * (size_t)world);
    lt_tensor all = lt_vector(x, LT_F32, (int64_t)N * world);

    LT_CHECK_OK(lt_comm_open(&comm, lt_ranks_device(), lt_ranks_group(), false));
    for (int k = 0;; k++) {
        comm->ops->reduce_scatter(comm, lt_block(all, 0, 1, 0, N), all);
        if (k == 5 && comm->rank == world - 1)
            _exit(3);
        LT_CHECK_OK(lt_dev_sync(lt_ranks_device()));
        LT_CHECK_OK(comm->ops->check(comm));
    }
}

/* Not a test: the last rank fails alone, in the middle of a collective that the others never join.
 * Its waits end, so that it can close what it has and return; the others wait for it. */
LT_TEST(on_purpose_leave_alone)
{
    lt_group *group = lt_ranks_group();
    lt_dev *dev = lt_ranks_device();
    lt_comm *comm = NULL;
    float x[8];

    LT_CHECK_OK(lt_comm_open(&comm, dev, group, false));
    if (group->rank < group->world - 1) {
        (void)!lt_group_barrier(group);
        return;
    }
    comm->ops->all_gather(comm, lt_vector(x, LT_F32, group->world), lt_vector(x, LT_F32, 1));
    lt_group_abandon(group);
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK_FAILS(comm->ops->check(comm), LT_EFAULT, "waits for the other ranks no longer");
    lt_comm_close(comm);
    lt_test_fail(__FILE__, __LINE__, "rank %d leaves", group->rank);
}
