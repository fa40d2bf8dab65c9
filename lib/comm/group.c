/* comm/group.c - what every group does with its operations: texts of any length, barriers, and one
 * verdict for all ranks.  Lengths travel first, so nobody receives what it has no room for. */
#include "comm/group_parts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void lt_group_init(lt_group *g, const lt_group_ops *ops, lt_launcher launcher, int rank, int world)
{
    g->ops = ops;
    g->launcher = launcher;
    g->rank = rank;
    g->world = world;
    g->local_rank = 0;
    g->local_world = g->n_hosts = 1;
    atomic_init(&g->failed, false);
    if (gethostname(g->host, sizeof g->host) != 0)
        memcpy(g->host, "?", 2);
    g->host[sizeof g->host - 1] = '\0';
}

void lt_group_close(lt_group *g)
{
    if (g)
        g->ops->close(g);
}

void lt_group_abandon(lt_group *g)
{
    atomic_store(&g->failed, true);
}

static lt_err check_whole(const lt_group *g)
{
    if (atomic_load(&g->failed))
        return lt_fail(LT_EFAULT, "rank %d (%s) has lost the other ranks of this job", g->rank,
                       g->host);
    return LT_OK;
}

static lt_err note_failure(lt_group *g, lt_err err)
{
    if (err != LT_OK)
        atomic_store(&g->failed, true);
    return err;
}

lt_err lt_group_all_gather(lt_group *g, void *all, const void *mine, size_t bytes)
{
    lt_err err = check_whole(g);

    return err != LT_OK ? err : note_failure(g, g->ops->all_gather(g, all, mine, bytes));
}

static lt_err broadcast_bytes(lt_group *g, void *data, size_t bytes, int root)
{
    lt_err err = check_whole(g);

    return err != LT_OK ? err : note_failure(g, g->ops->broadcast(g, data, bytes, root));
}

lt_err lt_group_barrier(lt_group *g)
{
    char mine = 0, *all = lt_new_array0((size_t)g->world, 1);
    lt_err err = lt_group_all_gather(g, all, &mine, 1);

    free(all);
    return err;
}

/* bytes of text, to be filled by the caller */
static void make_room(lt_buf *text, uint64_t bytes)
{
    lt_buf_clear(text);
    lt_buf_reserve(text, bytes);
    text->size = bytes;
    text->data[bytes] = '\0';
}

lt_err lt_group_broadcast(lt_group *g, lt_buf *text, int root)
{
    uint64_t bytes = text->size;
    lt_err err;

    LT_BUG_ON(root < 0 || root >= g->world);
    LT_TRY(err = broadcast_bytes(g, &bytes, sizeof bytes, root));
    if (g->rank != root)
        make_room(text, bytes);
    if (bytes > 0)
        LT_TRY(err = broadcast_bytes(g, text->data, bytes, root));
fail:
    return err;
}

lt_err lt_group_gather(lt_group *g, const lt_buf *mine, lt_buf *all)
{
    uint64_t own = mine->size, *bytes = lt_new_array0((size_t)g->world, sizeof *bytes);
    void **parts = NULL;
    lt_err err;

    LT_TRY(err = lt_group_all_gather(g, bytes, &own, sizeof own));
    if (g->rank == 0) {
        parts = lt_new_array0((size_t)g->world, sizeof *parts);
        for (int r = 0; r < g->world; r++) {
            all[r] = (lt_buf){ 0 };
            make_room(&all[r], bytes[r]);
            parts[r] = all[r].data;
        }
    }
    err = note_failure(g, g->ops->gather(g, mine->data, parts, bytes));
    for (int r = 0; parts && err != LT_OK && r < g->world; r++)
        lt_buf_release(&all[r]);
fail:
    free(parts);
    free(bytes);
    return err;
}

/* What the first failing rank tells the others. */
typedef struct verdict {
    char host[LT_HOST_NAME_BYTES];
    lt_err_record record;
} verdict;

lt_err lt_group_agree(lt_group *g, lt_err mine)
{
    int32_t code = (int32_t)mine, *codes = lt_new_array0((size_t)g->world, sizeof *codes);
    lt_err_record own = { 0 };
    verdict v = { 0 };
    int first = 0;
    lt_err err;

    if (mine != LT_OK)
        lt_err_take(&own);
    own.code = mine;
    LT_TRY(err = lt_group_all_gather(g, codes, &code, sizeof code));
    while (first < g->world && codes[first] == LT_OK)
        first++;
    if (first < g->world) {
        v.record = own;
        memcpy(v.host, g->host, sizeof v.host);
        LT_TRY(err = broadcast_bytes(g, &v, sizeof v, first));
        err = lt_err_give(&v.record);
        if (first != g->rank)
            err = lt_fail_in("rank %d (%s)", first, v.host);
    }
    free(codes);
    return err;
fail:
    free(codes);
    /* The ranks have lost each other; what went wrong here says more. */
    return mine != LT_OK ? lt_err_give(&own) : err;
}

lt_err lt_group_find_hosts(lt_group *g)
{
    char(*hosts)[LT_HOST_NAME_BYTES] = lt_new_array0((size_t)g->world, sizeof *hosts);
    lt_err err;

    LT_TRY(err = lt_group_all_gather(g, hosts, g->host, sizeof *hosts));
    g->local_rank = g->local_world = g->n_hosts = 0;
    for (int r = 0; r < g->world; r++) {
        int earlier = 0;

        if (strncmp(hosts[r], g->host, sizeof *hosts) == 0) {
            g->local_rank += r < g->rank;
            g->local_world++;
        }
        while (earlier < r && strncmp(hosts[earlier], hosts[r], sizeof *hosts) != 0)
            earlier++;
        g->n_hosts += earlier == r;
    }
fail:
    free(hosts);
    return err;
}
