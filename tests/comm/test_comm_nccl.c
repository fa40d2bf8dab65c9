/* test_comm_nccl.c - GPU ranks: what is asked of NCCL and how its failures come out, with a library
 * that the test plays; and a group of one with the real library where there is a GPU. */
#include "lt_test.h"
#include "base/mem.h"
#include "comm/call_mark.h"
#include "comm/nccl/nccl_api.h"

#include <stdlib.h>

/* ---- a library of one rank that does as it is told */

enum { BROKEN = 2, REMOTE = 6 }; /* results */
enum { FOR_EVER = 1 << 30 };

static struct fake {
    int answer;  /* of the next collectives and groups */
    int state;   /* of the communicator */
    int polls;   /* how often it says "in progress" after each call */
    int left;    /* of those now */
    int n_calls; /* collectives */
    int n_starts, n_ends, n_finalized, n_destroyed, n_aborted, n_asked;
    int type, root; /* of the last collective */
    size_t n;       /* its elements */
    void *stream;   /* and stream */
    int blocking, world, rank;
    char id;          /* the first byte of the identity */
    const char *last; /* error */
} fake;

static int handle_;
static lt_nccl_handle *const handle = (lt_nccl_handle *)&handle_;

static int fake_get_unique_id(lt_nccl_id *id)
{
    memset(id, 'i', sizeof *id);
    return LT_NCCL_SUCCESS;
}

static int start_work(void)
{
    fake.left = fake.polls;
    return fake.answer;
}

static int fake_init(lt_nccl_handle **out, int world, lt_nccl_id id, int rank,
                     lt_nccl_config *config)
{
    *out = handle;
    fake.world = world;
    fake.rank = rank;
    fake.id = id.bytes[sizeof id - 1];
    fake.blocking = config->size == 24 && config->magic == 0xcafebeef ? config->blocking : -1;
    return start_work();
}

static int fake_finalize(lt_nccl_handle *h)
{
    fake.n_finalized += h == handle;
    return start_work();
}

static int fake_destroy(lt_nccl_handle *h)
{
    fake.n_destroyed += h == handle;
    return LT_NCCL_SUCCESS;
}

static int fake_abort(lt_nccl_handle *h)
{
    fake.n_aborted += h == handle;
    return LT_NCCL_SUCCESS;
}

static int fake_get_async_error(lt_nccl_handle *h, int *result)
{
    fake.n_asked += h == handle;
    *result = fake.left > 0 ? LT_NCCL_IN_PROGRESS : fake.state;
    fake.left -= fake.left > 0;
    return LT_NCCL_SUCCESS;
}

static const char *fake_error_string(int result)
{
    return result == REMOTE ? "remote process exited" : "unhandled system error";
}

static const char *fake_last_error(lt_nccl_handle *h)
{
    (void)h;
    return fake.last;
}

static int fake_move(const void *in, void *out, size_t n, int type, void *stream)
{
    static const size_t bytes[] = {
        [LT_NCCL_INT8] = 1, [LT_NCCL_FLOAT16] = 2, [LT_NCCL_FLOAT32] = 4, [LT_NCCL_BFLOAT16] = 2
    };

    fake.n_calls++;
    fake.n = n;
    fake.type = type;
    fake.stream = stream;
    if (in != out)
        memcpy(out, in, n * bytes[type]);
    return start_work();
}

static int fake_reduce_scatter(const void *in, void *out, size_t n_out, int type, int op,
                               lt_nccl_handle *h, void *stream)
{
    return op == 0 && h == handle ? fake_move(in, out, n_out, type, stream) : BROKEN;
}

static int fake_all_gather(const void *in, void *out, size_t n_in, int type, lt_nccl_handle *h,
                           void *stream)
{
    return h == handle ? fake_move(in, out, n_in, type, stream) : BROKEN;
}

static int fake_broadcast(const void *in, void *out, size_t n, int type, int root,
                          lt_nccl_handle *h, void *stream)
{
    fake.root = root;
    return h == handle ? fake_move(in, out, n, type, stream) : BROKEN;
}

static int fake_group_start(void)
{
    fake.n_starts++;
    return LT_NCCL_SUCCESS;
}

static int fake_group_end(void)
{
    fake.n_ends++;
    return start_work();
}

static const lt_nccl_api fake_api = { .name = "NCCL 2.0.0",
                                      .get_unique_id = fake_get_unique_id,
                                      .init = fake_init,
                                      .finalize = fake_finalize,
                                      .destroy = fake_destroy,
                                      .abort = fake_abort,
                                      .get_async_error = fake_get_async_error,
                                      .error_string = fake_error_string,
                                      .last_error = fake_last_error,
                                      .reduce_scatter = fake_reduce_scatter,
                                      .all_gather = fake_all_gather,
                                      .broadcast = fake_broadcast,
                                      .group_start = fake_group_start,
                                      .group_end = fake_group_end };

/* A CPU whose communication stream has an address. */
static int streams[LT_N_STREAMS];
static lt_backend backend;

static void *fake_stream(lt_dev *dev, lt_stream stream)
{
    (void)dev;
    return &streams[stream];
}

typedef struct ranks {
    lt_dev *dev;
    lt_group *group;
    lt_comm *comm;
} ranks;

static lt_err ranks_open_device(ranks *r)
{
    lt_err err;

    *r = (ranks){ 0 };
    memset(&fake, 0, sizeof fake);
    backend = lt_backend_cpu;
    backend.native_stream = fake_stream;
    LT_TRY(err = lt_dev_open(&r->dev, "cpu", &(lt_dev_options){ .n_threads = 1 }));
    r->dev->backend = &backend;
    r->group = lt_group_self_new();
fail:
    return err;
}

static lt_err ranks_open(ranks *r, bool debug)
{
    lt_err err;

    LT_TRY(err = ranks_open_device(r));
    err = lt_comm_nccl_open_api(&r->comm, r->dev, r->group, debug, &fake_api,
                                (lt_nccl_limits){ .open = 5, .call = 0.02 });
fail:
    return err;
}

static void ranks_close(ranks *r)
{
    lt_comm_close(r->comm);
    lt_group_close(r->group);
    lt_dev_close(r->dev);
}

/* ---- with it */

LT_TEST(comm_nccl_asks_for_what_the_contract_says)
{
    uint16_t halves[6] = { 1, 2, 3, 4, 5, 6 };
    float from[4] = { 1, -2, 3, 4 }, to[4] = { 0 };
    ranks r;

    LT_CHECK_OK(ranks_open(&r, true));
    LT_CHECK_INT(r.comm->world, 1);
    LT_CHECK_STR(r.comm->ops->name, "nccl");
    LT_CHECK(fake.blocking == 0 && fake.world == 1 && fake.rank == 0 && fake.id == 'i');
    r.comm->ops->reduce_scatter(r.comm, lt_vector(to, LT_F32, 4), lt_vector(from, LT_F32, 4));
    LT_CHECK_INT(fake.type, LT_NCCL_FLOAT32);
    LT_CHECK_INT(fake.n, 4);
    LT_CHECK(memcmp(from, to, sizeof to) == 0);
    LT_CHECK(fake.stream == &streams[LT_STREAM_COMM]);
    r.comm->ops->reduce_scatter(r.comm, lt_vector(halves, LT_BF16, 6),
                                lt_vector(halves, LT_BF16, 6));
    LT_CHECK_INT(fake.type, LT_NCCL_BFLOAT16);
    r.comm->ops->reduce_scatter(r.comm, lt_vector(halves, LT_F16, 6), lt_vector(halves, LT_F16, 6));
    LT_CHECK_INT(fake.type, LT_NCCL_FLOAT16);
    r.comm->ops->all_gather(r.comm, lt_vector(halves, LT_BF16, 6), lt_vector(halves, LT_BF16, 6));
    LT_CHECK_INT(fake.type, LT_NCCL_INT8);
    LT_CHECK_INT(fake.n, 12); /* bytes */
    fake.root = -1;
    r.comm->ops->broadcast(r.comm, lt_vector(from, LT_F32, 3), 0);
    LT_CHECK(fake.n == 12 && fake.root == 0);
    LT_CHECK_INT(fake.n_calls, 5);
    r.comm->ops->all_gather(r.comm, lt_vector(to, LT_F32, 0), lt_vector(to, LT_F32, 0));
    LT_CHECK_INT(fake.n_calls, 5); /* nothing to be done */
    LT_CHECK_OK(r.comm->ops->check(r.comm));
    ranks_close(&r);
    LT_CHECK(fake.n_finalized == 1 && fake.n_destroyed == 1 && fake.n_aborted == 0);
}

LT_TEST(comm_nccl_waits_until_a_call_is_launched)
{
    float x[4] = { 1, 2, 3, 4 };
    lt_tensor t = lt_vector(x, LT_F32, 4);
    ranks r;

    LT_CHECK_OK(ranks_open(&r, false));
    fake.polls = 3;
    fake.answer = LT_NCCL_IN_PROGRESS;
    fake.n_asked = 0;
    r.comm->ops->broadcast(r.comm, t, 0);
    LT_CHECK_INT(fake.n_asked, 4);
    LT_CHECK_INT(fake.left, 0);
    LT_CHECK_OK(r.comm->ops->check(r.comm));
    fake.n_asked = 0;
    r.comm->ops->group_begin(r.comm);
    r.comm->ops->all_gather(r.comm, t, t);
    r.comm->ops->reduce_scatter(r.comm, t, t);
    LT_CHECK_INT(fake.n_asked, 0); /* not before the group is launched */
    r.comm->ops->group_end(r.comm);
    LT_CHECK_INT(fake.n_asked, 4);
    LT_CHECK(fake.n_starts == 1 && fake.n_ends == 1 && fake.n_calls == 3);
    ranks_close(&r);
    LT_CHECK(fake.n_destroyed == 1 && fake.n_aborted == 0);
}

LT_TEST(comm_nccl_keeps_the_first_failure)
{
    float x[4] = { 1, 2, 3, 4 };
    lt_tensor t = lt_vector(x, LT_F32, 4);
    ranks r;

    LT_CHECK_OK(ranks_open(&r, false));
    snprintf(r.group->host, sizeof r.group->host, "node7");
    r.comm->ops->group_begin(r.comm);
    r.comm->ops->broadcast(r.comm, t, 0);
    fake.answer = BROKEN;
    fake.last = "net.cc:12 no such\n device";
    r.comm->ops->all_gather(r.comm, t, t);
    fake.answer = LT_NCCL_SUCCESS;
    fake.last = "";
    r.comm->ops->all_gather(r.comm, t, t);
    LT_CHECK_INT(fake.n_calls, 2);
    r.comm->ops->group_end(r.comm);
    LT_CHECK_INT(fake.n_ends, 1); /* what was begun is ended */
    for (int i = 0; i < 2; i++)
        LT_CHECK_FAILS(r.comm->ops->check(r.comm), LT_EFAULT,
                       "rank 0 (node7): NCCL 2.0.0: call 2: all_gather of 4 fp32: unhandled "
                       "system error: net.cc:12 no such  device");
    r.comm->ops->group_begin(r.comm);
    r.comm->ops->reduce_scatter(r.comm, t, t);
    r.comm->ops->broadcast(r.comm, t, 0);
    r.comm->ops->group_end(r.comm);
    LT_CHECK(fake.n_calls == 2 && fake.n_starts == 1 && fake.n_ends == 1);
    ranks_close(&r);
    LT_CHECK(fake.n_aborted == 1 && fake.n_finalized == 0 && fake.n_destroyed == 0);
}

LT_TEST(comm_nccl_finds_the_failure_of_what_runs)
{
    float x[4] = { 1, 2, 3, 4 };
    ranks r;

    LT_CHECK_OK(ranks_open(&r, false));
    LT_CHECK_OK(r.comm->ops->check(r.comm));
    fake.state = REMOTE;
    LT_CHECK_FAILS(r.comm->ops->check(r.comm), LT_EFAULT, "remote process exited");
    fake.state = LT_NCCL_SUCCESS;
    LT_CHECK_FAILS(r.comm->ops->check(r.comm), LT_EFAULT, "remote process exited");
    r.comm->ops->broadcast(r.comm, lt_vector(x, LT_F32, 4), 0);
    LT_CHECK_INT(fake.n_calls, 0);
    ranks_close(&r);
    LT_CHECK_INT(fake.n_aborted, 1);
}

LT_TEST(comm_nccl_does_not_wait_for_ever)
{
    float x[4] = { 1, 2, 3, 4 };
    ranks r;

    LT_CHECK_OK(ranks_open(&r, false));
    fake.polls = FOR_EVER;
    r.comm->ops->broadcast(r.comm, lt_vector(x, LT_F32, 4), 0);
    LT_CHECK_FAILS(r.comm->ops->check(r.comm), LT_EFAULT,
                   "call 1: broadcast of 4 fp32 from rank 0: not done after 0.02");
    ranks_close(&r);
    LT_CHECK_INT(fake.n_aborted, 1);
}

/* A rank that knows of a loss does not wait for the lost ones, here or when it closes. */
LT_TEST(comm_nccl_gives_up_with_its_group)
{
    float x[4] = { 1, 2, 3, 4 };
    ranks r;

    LT_CHECK_OK(ranks_open(&r, false));
    lt_group_abandon(r.group);
    ranks_close(&r);
    LT_CHECK(fake.n_aborted == 1 && fake.n_finalized == 0);
    LT_CHECK_OK(ranks_open_device(&r));
    LT_CHECK_OK(lt_comm_nccl_open_api(&r.comm, r.dev, r.group, false, &fake_api,
                                      (lt_nccl_limits){ .open = 5, .call = 1e9 }));
    lt_group_abandon(r.group);
    fake.polls = FOR_EVER;
    r.comm->ops->broadcast(r.comm, lt_vector(x, LT_F32, 4), 0);
    LT_CHECK_FAILS(r.comm->ops->check(r.comm), LT_EFAULT, "not done after");
    ranks_close(&r);
}

LT_TEST(comm_nccl_says_when_ranks_do_not_meet)
{
    ranks r;

    LT_CHECK_OK(ranks_open_device(&r));
    fake.polls = FOR_EVER;
    LT_CHECK_FAILS(lt_comm_nccl_open_api(&r.comm, r.dev, r.group, false, &fake_api,
                                         (lt_nccl_limits){ .open = 0.01, .call = 1 }),
                   LT_EFAULT, "NCCL 2.0.0: meeting the other ranks: not done after 0.01");
    LT_CHECK(!r.comm && fake.n_aborted == 1);
    fake.polls = 0;
    fake.answer = BROKEN;
    LT_CHECK_FAILS(lt_comm_nccl_open_api(&r.comm, r.dev, r.group, false, &fake_api,
                                         (lt_nccl_limits){ .open = 1, .call = 1 }),
                   LT_EFAULT, "meeting the other ranks: unhandled system error");
    LT_CHECK(!r.comm && fake.n_aborted == 2);
    ranks_close(&r);
}

/* Rank 1 of a group of two, whose rank 0 says the same, or, of its next call, something else. */
static const lt_call_mark *said;

static lt_err gather_two(lt_group *g, void *all, const void *mine, size_t bytes)
{
    bool differ = said && bytes == sizeof *said;

    (void)g;
    memcpy(all, differ ? (const void *)said : mine, bytes);
    memcpy((char *)all + bytes, mine, bytes);
    return LT_OK;
}

static lt_err broadcast_two(lt_group *g, void *data, size_t bytes, int root)
{
    (void)g, (void)data, (void)bytes;
    return root == 0 ? LT_OK : lt_fail(LT_EFAULT, "of rank %d", root);
}

LT_TEST(comm_nccl_debug_names_who_calls_something_else)
{
    const lt_call_mark other = {
        .number = 2, .n = 8, .kind = LT_CALL_ALL_GATHER, .dtype = LT_BF16
    };
    uint16_t x[16] = { 1, 2, 3 };
    lt_group_ops two = { .all_gather = gather_two, .broadcast = broadcast_two };
    ranks r;

    said = NULL;
    LT_CHECK_OK(ranks_open_device(&r));
    two.close = r.group->ops->close;
    r.group->ops = &two;
    r.group->rank = 1;
    r.group->world = 2;
    snprintf(r.group->host, sizeof r.group->host, "node7");
    LT_CHECK_OK(lt_comm_nccl_open_api(&r.comm, r.dev, r.group, true, &fake_api,
                                      (lt_nccl_limits){ .open = 5, .call = 5 }));
    LT_CHECK(fake.rank == 1 && fake.world == 2);
    r.comm->ops->all_gather(r.comm, lt_vector(x, LT_BF16, 16), lt_vector(x, LT_BF16, 8));
    LT_CHECK_INT(fake.n_calls, 1);
    said = &other;
    r.comm->ops->reduce_scatter(r.comm, lt_vector(x, LT_BF16, 8), lt_vector(x, LT_BF16, 16));
    said = NULL;
    LT_CHECK_INT(fake.n_calls, 1);
    LT_CHECK_FAILS(r.comm->ops->check(r.comm), LT_EFAULT,
                   "different collectives: rank 1 (node7): call 2: reduce_scatter of 16 bf16; "
                   "rank 0 (node7): call 2: all_gather of 8 bf16");
    ranks_close(&r);
}

/* ---- the real library */

/* The calls of a name that is not there, or is something else. */
LT_TEST(comm_nccl_names_the_library_that_is_missing)
{
    static const char *const files[] = { "/nowhere/libnccl.so.2", "libm.so.6" };
    static const char *const parts[] = { "/nowhere/libnccl.so.2: cannot open",
                                         "libm.so.6 has no ncclGetVersion" };
    const char *before = getenv("LT_NCCL_LIBRARY");
    char *saved = before ? lt_strdup(before) : NULL;
    ranks r;

    LT_CHECK_OK(ranks_open_device(&r));
    for (size_t i = 0; i < LT_COUNT(files); i++) {
        setenv("LT_NCCL_LIBRARY", files[i], 1);
        LT_CHECK_FAILS(lt_comm_nccl_open(&r.comm, r.dev, r.group, false), LT_ENOTSUP, parts[i]);
        LT_CHECK(!r.comm);
    }
    if (saved)
        setenv("LT_NCCL_LIBRARY", saved, 1);
    else
        unsetenv("LT_NCCL_LIBRARY");
    free(saved);
    ranks_close(&r);
}

LT_TEST(comm_nccl_switches_nvls_off)
{
    lt_nccl_api api;

    if (lt_nccl_api_open(&api) != LT_OK) {
        lt_test_skip(lt_err_text());
        return;
    }
    LT_CHECK(getenv("NCCL_NVLS_ENABLE") != NULL);
    LT_CHECK(strncmp(api.name, "NCCL 2.", 7) == 0);
}

enum { N = 100000 };

/* out receives what the collective made of `in` on the GPU. */
static lt_err on_gpu(ranks *r, lt_dtype type, void (*call)(lt_comm *, lt_tensor, lt_tensor),
                     const void *in, void *out)
{
    size_t bytes = N * lt_dtype_bytes(type);
    void *from = NULL, *to = NULL;
    lt_err err;

    LT_TRY(err = lt_dev_alloc(r->dev, LT_MEMORY_DEVICE, bytes, &from));
    LT_TRY(err = lt_dev_alloc(r->dev, LT_MEMORY_DEVICE, bytes, &to));
    lt_dev_copy(r->dev, LT_STREAM_COMM, from, in, bytes);
    call(r->comm, lt_vector(to, type, N), lt_vector(from, type, N));
    LT_TRY(err = r->comm->ops->check(r->comm));
    lt_dev_copy(r->dev, LT_STREAM_COMM, out, to, bytes);
    err = lt_dev_sync(r->dev);
fail:
    lt_dev_free(r->dev, LT_MEMORY_DEVICE, from);
    lt_dev_free(r->dev, LT_MEMORY_DEVICE, to);
    return err;
}

/* Three collectives launched as one; the broadcast is of what was gathered. */
static void grouped(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    comm->ops->group_begin(comm);
    comm->ops->reduce_scatter(comm, in, in);
    comm->ops->all_gather(comm, out, in);
    comm->ops->group_end(comm);
    comm->ops->broadcast(comm, out, 0);
}

LT_TEST(comm_nccl_of_one_gpu)
{
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_F16 };
    const char *name = getenv("LT_TEST_DEVICE");
    float *in = lt_new_array0(N, sizeof *in), *out = lt_new_array0(N, sizeof *out);
    ranks r = { 0 };

    if (!name || strcmp(name, "cuda") != 0) {
        lt_test_skip("LT_TEST_DEVICE is not cuda");
    } else if (lt_dev_open(&r.dev, name, &(lt_dev_options){ 0 }) != LT_OK) {
        lt_test_skip(lt_err_text());
    } else {
        r.group = lt_group_self_new();
        LT_CHECK_OK(lt_comm_nccl_open(&r.comm, r.dev, r.group, true));
        for (int i = 0; i < N; i++)
            in[i] = (float)(i % 1000 - 500);
        for (size_t t = 0; t < LT_COUNT(types); t++) {
            const size_t bytes = N * lt_dtype_bytes(types[t]);
            void (*calls[])(lt_comm *, lt_tensor, lt_tensor) = { r.comm->ops->reduce_scatter,
                                                                 r.comm->ops->all_gather, grouped };

            for (size_t k = 0; k < LT_COUNT(calls); k++) {
                memset(out, 0, N * sizeof *out);
                LT_CHECK_OK(on_gpu(&r, types[t], calls[k], in, out));
                LT_CHECK(memcmp(in, out, bytes) == 0);
            }
        }
        ranks_close(&r);
    }
    free(in);
    free(out);
}
