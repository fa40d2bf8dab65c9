/* test_placement.c - who gets which GPU and which CPUs, from what the ranks of a job know. */
#include "lt_test.h"
#include "train/placement.h"

enum { RANKS = 4 };

static void set_cpus(lt_cpus *out, const char *list)
{
    LT_BUG_ON(lt_cpus_parse(out, list) != LT_OK);
}

/* n_gpus 0: a rank without. */
static lt_place place(const char *host, int gpu, int n_gpus, const char *near)
{
    lt_place p;

    memset(&p, 0, sizeof p);
    snprintf(p.host, sizeof p.host, "%s", host);
    if (n_gpus > 0)
        snprintf(p.gpu, sizeof p.gpu, "0000:%02x:00.0", gpu);
    p.n_gpus = n_gpus;
    set_cpus(&p.near, near);
    p.allowed = p.near;
    return p;
}

static bool receives(const lt_place *all, int rank, bool gpu, const char *list)
{
    lt_placement p;
    lt_cpus expected;

    set_cpus(&expected, list);
    return lt_placement_decide(&p, all, RANKS, rank) == LT_OK && p.gpu == gpu &&
           lt_cpus_equal(&p.cpus, &expected);
}

LT_TEST(placement_shares_the_cpus_near_a_gpu)
{
    const lt_place all[RANKS] = { place("a", 0, 3, "0-3"), place("a", 1, 3, "8-9"),
                                  place("a", 2, 3, "0-3"), place("b", 0, 1, "0-3") };

    LT_CHECK(receives(all, 0, true, "0-1"));
    LT_CHECK(receives(all, 1, true, "8-9"));
    LT_CHECK(receives(all, 2, true, "2-3"));
    LT_CHECK(receives(all, 3, true, "0-3"));
}

LT_TEST(placement_of_cpu_ranks_goes_by_what_the_launcher_leaves)
{
    const lt_place unbound[RANKS] = { place("a", 0, 0, "0-7"), place("a", 0, 0, "0-7"),
                                      place("a", 0, 0, "0-7"), place("b", 0, 0, "0-7") };
    const lt_place bound[RANKS] = { place("a", 0, 0, "0"), place("a", 0, 0, "1"),
                                    place("a", 0, 0, "2"), place("a", 0, 0, "2") };

    LT_CHECK(receives(unbound, 0, false, "0-1"));
    LT_CHECK(receives(unbound, 1, false, "2-4"));
    LT_CHECK(receives(unbound, 2, false, "5-7"));
    LT_CHECK(receives(unbound, 3, false, "0-7"));
    LT_CHECK(receives(bound, 0, false, "0"));
    LT_CHECK(receives(bound, 2, false, "2")); /* two ranks on one core: as somebody wanted it */
    LT_CHECK(receives(bound, 3, false, "2"));
}

LT_TEST(placement_refuses_more_ranks_than_gpus)
{
    const lt_place all[RANKS] = { place("a", 0, 2, "0-3"), place("a", 1, 2, "0-3"),
                                  place("b", 0, 1, "0-3"), place("b", 0, 1, "0-3") };
    const lt_place each_its_own[RANKS] = { place("a", 0, 1, "0-3"), place("a", 1, 1, "0-3"),
                                           place("a", 2, 1, "0-3"), place("a", 3, 1, "0-3") };
    lt_placement p;

    for (int rank = 0; rank < RANKS; rank++) {
        LT_CHECK_FAILS(lt_placement_decide(&p, all, RANKS, rank), LT_EUSAGE,
                       "2 ranks on host b, GPUs to be seen there: 1; each rank needs one");
        LT_CHECK_OK(lt_placement_decide(&p, each_its_own, RANKS, rank)); /* CUDA_VISIBLE_DEVICES */
    }
}

LT_TEST(placement_refuses_a_mixture)
{
    const lt_place all[RANKS] = { place("a", 0, 1, "0-3"), place("b", 0, 1, "0-3"),
                                  place("c", 0, 0, "0-3"), place("d", 0, 1, "0-3") };
    lt_placement p;

    LT_CHECK_FAILS(lt_placement_decide(&p, all, RANKS, 1), LT_EUSAGE,
                   "rank 2 (c) has none and rank 0 (a) has one");
}
