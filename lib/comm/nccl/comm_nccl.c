/* comm/nccl/comm_nccl.c - collectives among GPU ranks.
 *
 * All calls to NCCL are made by the thread that calls lt, in the order of the plan, on the device's
 * communication stream.  The communicator does not block: what NCCL has to do first (meeting the
 * other ranks, connecting to them) is waited for here, so that a rank that never comes ends in a
 * sentence.  Failures of running collectives are found by check; the first failure is kept and ends
 * all later work.  A communicator that failed is aborted, because its kernels wait for ever. */
#include "comm/nccl/nccl_api.h"

#include "base/clock.h"
#include "comm/call_mark.h"
#include "comm/comm_parts.h"
#include "comm/watch.h"

#include <ctype.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OPEN_SECONDS = 300, CALL_SECONDS = 600 };

typedef struct nccl_comm {
    lt_comm base;
    lt_nccl_api api;
    lt_nccl_limits limits;
    lt_nccl_handle *handle; /* NULL before the ranks meet */
    void *stream;
    bool in_group;
    lt_call_mark call;   /* the last one */
    lt_err_record fault; /* code LT_OK: none */
    lt_call_mark *marks; /* (world); NULL unless debug */
    char (*hosts)[LT_HOST_NAME_BYTES];
} nccl_comm;

static nccl_comm *nccl_of(lt_comm *comm)
{
    return (nccl_comm *)comm;
}

/* ---- failures */

/* "rank 1 (host): NCCL 2.28.9: what"; NULL: the last call. */
static void print_place(lt_buf *text, const nccl_comm *c, const char *what)
{
    lt_buf_printf(text, "rank %d (%s): %s: ", c->base.rank, c->base.group->host, c->api.name);
    if (what)
        lt_buf_printf(text, "%s", what);
    else
        lt_call_mark_print(text, &c->call);
}

/* NCCL's last error as part of a line. */
static void print_last_error(lt_buf *text, const nccl_comm *c)
{
    const char *last = c->api.last_error(c->handle);

    if (!last || !*last)
        return;
    lt_buf_printf(text, ": ");
    for (; *last; last++) {
        char letter = iscntrl((unsigned char)*last) ? ' ' : *last;

        lt_buf_append(text, &letter, 1);
    }
}

/* LT_EFAULT: what NCCL returned, and what it says about it. */
static lt_err refuse(const nccl_comm *c, const char *what, int result)
{
    lt_buf text = { 0 };

    print_place(&text, c, what);
    lt_buf_printf(&text, ": %s", c->api.error_string(result));
    print_last_error(&text, c);
    (void)lt_fail(LT_EFAULT, "%s", text.data);
    lt_buf_release(&text);
    return LT_EFAULT;
}

/* LT_EFAULT: NCCL is not done, and nobody waits for it any longer. */
static lt_err give_up(const nccl_comm *c, const char *what, double seconds)
{
    lt_buf text = { 0 };

    print_place(&text, c, what);
    (void)lt_fail(LT_EFAULT, "%s: not done after %.3g seconds: is another rank gone?", text.data,
                  seconds);
    lt_buf_release(&text);
    return LT_EFAULT;
}

/* Keeps the sentence of this thread as the failure of the communicator, if it is the first. */
static void keep_fault(nccl_comm *c)
{
    if (c->fault.code == LT_OK)
        lt_err_take(&c->fault);
}

static void pause_after(double waited)
{
    if (waited < 1e-3)
        (void)sched_yield();
    else
        (void)nanosleep(&(struct timespec){ .tv_nsec = waited < 1 ? 100000 : 10000000 }, NULL);
}

/* Waits until NCCL has done what it was told, unless the group knows that ranks are gone. */
static lt_err settle(const nccl_comm *c, const char *what, double seconds)
{
    double start = lt_now(), waited = 0;
    int state = LT_NCCL_IN_PROGRESS;

    for (;; pause_after(waited)) {
        int result = c->api.get_async_error(c->handle, &state);

        if (result != LT_NCCL_SUCCESS)
            return refuse(c, what, result);
        if (state != LT_NCCL_IN_PROGRESS)
            break;
        waited = lt_now() - start;
        if (waited > seconds || atomic_load(&c->base.group->failed))
            return give_up(c, what, waited);
    }
    return state == LT_NCCL_SUCCESS ? LT_OK : refuse(c, what, state);
}

/* ---- collectives */

static lt_err compare_calls(nccl_comm *c)
{
    lt_group *g = c->base.group;
    lt_err err = lt_group_all_gather(g, c->marks, &c->call, sizeof c->call);

    return err != LT_OK ? err : lt_call_marks_compare(c->marks, c->hosts, c->base.world);
}

/* Counts the call; false when nothing is to be done. */
static bool begin_call(nccl_comm *c, lt_call_kind kind, lt_tensor in, int root)
{
    if (c->fault.code != LT_OK)
        return false;
    lt_watch_collective(c->base.group->watch);
    c->call = lt_call_mark_of(c->call.number + 1, kind, in, root);
    if (c->marks && compare_calls(c) != LT_OK)
        keep_fault(c);
    return c->fault.code == LT_OK && in.cols > 0;
}

/* Inside a group NCCL only takes note; it works, and can be waited for, at the end. */
static void end_call(nccl_comm *c, int result)
{
    lt_err err = LT_OK;

    if (result != LT_NCCL_SUCCESS && result != LT_NCCL_IN_PROGRESS)
        err = refuse(c, NULL, result);
    else if (!c->in_group)
        err = settle(c, NULL, c->limits.call);
    if (err != LT_OK)
        keep_fault(c);
}

static int type_of(lt_dtype t)
{
    return t == LT_F32 ? LT_NCCL_FLOAT32 : t == LT_BF16 ? LT_NCCL_BFLOAT16 : LT_NCCL_FLOAT16;
}

static size_t bytes_of(lt_tensor t)
{
    return (size_t)t.cols * lt_dtype_bytes(t.dtype);
}

static void nccl_reduce_scatter(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    nccl_comm *c = nccl_of(comm);

    lt_comm_check_reduce(comm, out, in);
    if (begin_call(c, LT_CALL_REDUCE_SCATTER, in, 0))
        end_call(c, c->api.reduce_scatter(in.data, out.data, (size_t)out.cols, type_of(in.dtype),
                                          LT_NCCL_SUM, c->handle, c->stream));
}

static void nccl_all_gather(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    nccl_comm *c = nccl_of(comm);

    lt_comm_check_gather(comm, out, in);
    if (begin_call(c, LT_CALL_ALL_GATHER, in, 0))
        end_call(c, c->api.all_gather(in.data, out.data, bytes_of(in), LT_NCCL_INT8, c->handle,
                                      c->stream));
}

static void nccl_broadcast(lt_comm *comm, lt_tensor x, int root)
{
    nccl_comm *c = nccl_of(comm);

    lt_comm_check_broadcast(comm, x, root);
    if (begin_call(c, LT_CALL_BROADCAST, x, root))
        end_call(c, c->api.broadcast(x.data, x.data, bytes_of(x), LT_NCCL_INT8, root, c->handle,
                                     c->stream));
}

static void nccl_group_begin(lt_comm *comm)
{
    nccl_comm *c = nccl_of(comm);
    int result;

    LT_BUG_ON(c->in_group);
    if (c->fault.code != LT_OK)
        return;
    result = c->api.group_start();
    c->in_group = result == LT_NCCL_SUCCESS;
    if (!c->in_group) {
        (void)refuse(c, "beginning a group", result);
        keep_fault(c);
    }
}

/* Ends what was begun even after a failure inside: NCCL's groups belong to the thread. */
static void nccl_group_end(lt_comm *comm)
{
    nccl_comm *c = nccl_of(comm);

    if (!c->in_group)
        return;
    c->in_group = false;
    end_call(c, c->api.group_end());
}

static lt_err nccl_check(lt_comm *comm)
{
    nccl_comm *c = nccl_of(comm);
    int state = LT_NCCL_SUCCESS, result;

    if (c->fault.code == LT_OK) {
        result = c->api.get_async_error(c->handle, &state);
        result = result != LT_NCCL_SUCCESS ? result : state;
        if (result != LT_NCCL_SUCCESS && result != LT_NCCL_IN_PROGRESS) {
            (void)refuse(c, "a collective that runs", result);
            keep_fault(c);
        }
    }
    return c->fault.code == LT_OK ? LT_OK : lt_err_give(&c->fault);
}

/* ---- life */

static void release(nccl_comm *c)
{
    free(c->marks);
    free(c->hosts);
    free(c);
}

/* Leaves together with the other ranks; false when that did not come about. */
static bool leave(nccl_comm *c)
{
    int result;

    if (atomic_load(&c->base.group->failed) || nccl_check(&c->base) != LT_OK ||
        lt_dev_sync(c->base.dev) != LT_OK)
        return false;
    result = c->api.finalize(c->handle);
    if (result != LT_NCCL_SUCCESS && result != LT_NCCL_IN_PROGRESS)
        return false;
    return settle(c, "closing", c->limits.open) == LT_OK;
}

static void nccl_close(lt_comm *comm)
{
    nccl_comm *c = nccl_of(comm);

    if (leave(c))
        (void)c->api.destroy(c->handle);
    else
        (void)c->api.abort(c->handle);
    release(c);
}

static const lt_comm_ops nccl_ops = { .name = "nccl",
                                      .reduce_scatter = nccl_reduce_scatter,
                                      .all_gather = nccl_all_gather,
                                      .broadcast = nccl_broadcast,
                                      .group_begin = nccl_group_begin,
                                      .group_end = nccl_group_end,
                                      .check = nccl_check,
                                      .close = nccl_close };

/* Rank 0 names the communicator, and all enter it. */
static lt_err meet(nccl_comm *c)
{
    lt_nccl_config config = { .size = sizeof config,
                              .magic = LT_NCCL_CONFIG_MAGIC,
                              .version = LT_NCCL_CONFIG_VERSION,
                              .blocking = 0,
                              .undefined = INT_MIN };
    lt_group *g = c->base.group;
    lt_buf text = { 0 };
    lt_nccl_id id = { { 0 } };
    int result = LT_NCCL_SUCCESS;
    lt_err err = LT_OK;

    if (g->rank == 0)
        result = c->api.get_unique_id(&id);
    if (result != LT_NCCL_SUCCESS)
        err = refuse(c, "naming a communicator", result);
    LT_TRY(err = lt_group_agree(g, err));
    lt_buf_append(&text, &id, sizeof id);
    LT_TRY(err = lt_group_broadcast(g, &text, 0));
    LT_BUG_ON(text.size != sizeof id);
    memcpy(&id, text.data, sizeof id);
    result = c->api.init(&c->handle, g->world, id, g->rank, &config);
    if (result != LT_NCCL_SUCCESS && result != LT_NCCL_IN_PROGRESS)
        err = refuse(c, "meeting the other ranks", result);
    else
        err = settle(c, "meeting the other ranks", c->limits.open);
    err = lt_group_agree(g, err);
fail:
    lt_buf_release(&text);
    return err;
}

/* The GPU belongs to the thread that calls NCCL: any call of the backend makes it current. */
static void make_current(lt_dev *dev)
{
    dev->backend->event_free(dev, dev->backend->event_new(dev));
}

lt_err lt_comm_nccl_open_api(lt_comm **out, lt_dev *dev, lt_group *group, bool debug,
                             const lt_nccl_api *api, lt_nccl_limits limits)
{
    nccl_comm *c = lt_new0(sizeof *c);
    lt_err err;

    LT_BUG_ON(!dev->backend->native_stream);
    c->base = (lt_comm){
        .ops = &nccl_ops, .dev = dev, .group = group, .rank = group->rank, .world = group->world
    };
    c->api = *api;
    c->limits = limits;
    make_current(dev);
    c->stream = dev->backend->native_stream(dev, LT_STREAM_COMM);
    LT_TRY(err = meet(c));
    if (debug) {
        c->marks = lt_new_array0((size_t)group->world, sizeof *c->marks);
        c->hosts = lt_new_array0((size_t)group->world, sizeof *c->hosts);
        LT_TRY(err = lt_group_all_gather(group, c->hosts, group->host, sizeof *c->hosts));
    }
    *out = &c->base;
    return LT_OK;
fail:
    if (c->handle)
        (void)c->api.abort(c->handle);
    release(c);
    return err;
}

lt_err lt_comm_nccl_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    const lt_nccl_limits limits = { .open = OPEN_SECONDS, .call = CALL_SECONDS };
    lt_nccl_api api;
    lt_err err;

    err = lt_nccl_api_open(&api);
    LT_TRY(err = lt_group_agree(group, err));
    return lt_comm_nccl_open_api(out, dev, group, debug, &api, limits);
fail:
    return err;
}
