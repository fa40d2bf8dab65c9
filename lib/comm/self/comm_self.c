/* comm/self/comm_self.c - the group of one rank: a collective is a copy in the order of
 * LT_STREAM_COMM, or nothing. */
#include "base/mem.h"
#include "comm/comm_parts.h"

#include <stdlib.h>
#include <string.h>

typedef struct move {
    void *to;
    const void *from;
    size_t bytes;
} move;

static void run_move(void *context)
{
    const move *m = context;

    memcpy(m->to, m->from, m->bytes);
}

static void enqueue_move(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    const lt_backend *backend = comm->dev->backend;
    move m = { out.data, in.data, (size_t)in.cols * lt_dtype_bytes(in.dtype) };

    if (m.to == m.from || m.bytes == 0)
        return;
    if (backend->host_task)
        backend->host_task(comm->dev, LT_STREAM_COMM, run_move, &m, sizeof m);
    else
        backend->copy(comm->dev, LT_STREAM_COMM, m.to, m.from, m.bytes);
}

static void self_reduce_scatter(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    lt_comm_check_reduce(comm, out, in);
    enqueue_move(comm, out, in);
}

static void self_all_gather(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    lt_comm_check_gather(comm, out, in);
    enqueue_move(comm, out, in);
}

static void self_broadcast(lt_comm *comm, lt_tensor x, int root)
{
    lt_comm_check_broadcast(comm, x, root);
}

static void self_group(lt_comm *comm)
{
    (void)comm;
}

static lt_err self_check(lt_comm *comm)
{
    (void)comm;
    return LT_OK;
}

static void self_close(lt_comm *comm)
{
    (void)lt_dev_sync(comm->dev); /* a fault of the device is its owner's to report */
    free(comm);
}

static const lt_comm_ops self_ops = { .name = "self",
                                      .reduce_scatter = self_reduce_scatter,
                                      .all_gather = self_all_gather,
                                      .broadcast = self_broadcast,
                                      .group_begin = self_group,
                                      .group_end = self_group,
                                      .check = self_check,
                                      .close = self_close };

lt_err lt_comm_self_open(lt_comm **out, lt_dev *dev, lt_group *group)
{
    lt_comm *comm = lt_new0(sizeof *comm);

    LT_BUG_ON(group->world != 1);
    *comm = (lt_comm){ .ops = &self_ops, .dev = dev, .group = group, .rank = 0, .world = 1 };
    *out = comm;
    return LT_OK;
}
