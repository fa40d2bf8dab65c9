/* train/placement.c - ranks find their places. */
#include "train/placement.h"

#include "base/file.h"
#include "base/log.h"
#include "train/ranks.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what a rank knows */

/* CPUs near a PCI device as its folder tells; false when it does not. */
static bool near_pci(lt_cpus *out, const char *bus_id)
{
    char *path = lt_asprintf("/sys/bus/pci/devices/%s/local_cpulist", bus_id);
    lt_buf text = { 0 };
    bool known = lt_file_read_all(&text, path, 1 << 16) == LT_OK &&
                 lt_cpus_parse(out, lt_buf_cstr(&text)) == LT_OK;

    if (!known)
        lt_log_debug("CPUs near the GPU: %s: %s", path, lt_err_text());
    lt_buf_release(&text);
    free(path);
    return known;
}

static lt_err look_around(lt_place *p, const lt_engine_options *o, const lt_group *g)
{
    lt_cpus near;
    lt_err err;

    memset(p, 0, sizeof *p);
    memcpy(p->host, g->host, sizeof p->host);
    p->allowed = p->near = lt_cpus_allowed();
    if (strcmp(o->device, "cpu") == 0)
        return LT_OK;
    err = lt_backend_cuda.locate(g->local_rank, &p->n_gpus, p->gpu);
    if (err != LT_OK) {
        p->gpu[0] = '\0';
        return strcmp(o->device, "cuda") == 0 ? err : LT_OK;
    }
    if (near_pci(&near, p->gpu)) {
        near = lt_cpus_and(&near, &p->allowed);
        if (lt_cpus_count(&near) > 0)
            p->near = near;
    }
    return LT_OK;
}

/* ---- the verdict */

static bool same_host(const lt_place *a, const lt_place *b)
{
    return strncmp(a->host, b->host, sizeof a->host) == 0;
}

static lt_err check_gpus(const lt_place *all, int world)
{
    for (int i = 0; i < world; i++) {
        int ranks = 0;

        for (int k = 0; k < world; k++)
            ranks += same_host(&all[i], &all[k]);
        if (!all[i].gpu[0] != !all[0].gpu[0])
            return lt_fail(
                LT_EUSAGE,
                "device: rank %d (%s) has %s and rank 0 (%s) has %s: start ranks only where "
                "GPUs are, or use device: cpu",
                i, all[i].host, all[i].gpu[0] ? "a GPU" : "none", all[0].host,
                all[0].gpu[0] ? "one" : "none");
        for (int k = 0; k < i && all[i].gpu[0]; k++)
            if (same_host(&all[i], &all[k]) && strcmp(all[i].gpu, all[k].gpu) == 0)
                return lt_fail(
                    LT_EUSAGE,
                    "device: cuda: %d ranks on host %s, GPUs to be seen there: %d; each rank "
                    "needs one of its own, so start at most %d on a host (mpirun -n, "
                    "--map-by ppr:%d:node), or use device: cpu",
                    ranks, all[i].host, all[i].n_gpus, all[i].n_gpus, all[i].n_gpus);
    }
    return LT_OK;
}

lt_err lt_placement_decide(lt_placement *out, const lt_place *all, int world, int rank)
{
    const lt_place *me = &all[rank];
    int sharers = 0, mine = 0;
    lt_err err;

    LT_TRY(err = check_gpus(all, world));
    for (int r = 0; r < world; r++)
        if (same_host(me, &all[r]) && lt_cpus_equal(&me->near, &all[r].near)) {
            mine = r == rank ? sharers : mine;
            sharers++;
        }
    out->gpu = me->gpu[0] != '\0';
    out->cpus = lt_cpus_part(&me->near, mine, sharers);
    out->n_threads = lt_cpus_count(&me->near) > sharers ? lt_cpus_count(&out->cpus) : 1;
fail:
    return err;
}

/* ---- telling */

/* The ranks of rank 0's host, and a binding that leaves most of the machine idle.  threads: asked
 * for; 0: a rank's share. */
static void tell(const lt_place *all, const lt_group *g, int threads)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    lt_buf line = { 0 };
    lt_placement p;

    for (int r = 0; r < g->world; r++)
        if (same_host(&all[0], &all[r]) && lt_placement_decide(&p, all, g->world, r) == LT_OK) {
            int n = threads ? threads : p.n_threads;

            lt_buf_printf(&line, "%srank %d: ", line.size ? "; " : "", r);
            if (p.gpu)
                lt_buf_printf(&line, "GPU %s, CPUs ", all[r].gpu);
            else
                lt_buf_printf(&line, "%d thread%s on CPUs ", n, n == 1 ? "" : "s");
            lt_cpus_format(&line, p.gpu ? &p.cpus : &all[r].near);
        }
    lt_log_info("%s: %s", g->host, lt_buf_cstr(&line));
    if (g->launcher == LT_LAUNCH_MPI && lt_cpus_count(&all[0].allowed) == 1 &&
        online > g->local_world)
        lt_log_info("mpirun has bound each rank to one core of %ld; mpirun --bind-to none lets "
                    "them use all",
                    online);
    lt_buf_release(&line);
}

/* ---- all of it */

lt_err lt_place_ranks(lt_engine_options *o, lt_group *g)
{
    lt_place mine, *all;
    lt_placement placement;
    int asked = o->dev.n_threads;
    lt_err err;

    if (g->world == 1)
        return strcmp(o->device, "cuda") == 0 ? look_around(&mine, o, g) : LT_OK;
    all = lt_new_array0((size_t)g->world, sizeof *all);
    LT_TRY(err = lt_ranks_agree(g, look_around(&mine, o, g)));
    LT_TRY(err = lt_group_all_gather(g, all, &mine, sizeof mine));
    LT_TRY(err = lt_ranks_agree(g, lt_placement_decide(&placement, all, g->world, g->rank)));
    if (strcmp(o->device, "auto") == 0)
        o->device = placement.gpu ? "cuda" : "cpu";
    o->dev.ordinal = mine.n_gpus > 0 ? g->local_rank % mine.n_gpus : 0;
    if (asked == 0)
        o->dev.n_threads = placement.n_threads;
    if (placement.gpu && !lt_cpus_bind(&placement.cpus))
        lt_log_debug("the system refuses to bind this rank to the CPUs near its GPU");
    if (g->rank == 0)
        tell(all, g, asked);
fail:
    free(all);
    return err;
}
