/* test_comm_self.c - the group of one rank: a collective copies, or finds everything in place. */
#include "lt_test.h"
#include "comm/comm.h"

enum { N = 1000 };

static float from[N], to[N];
static lt_dev *dev;
static lt_group *group;
static lt_comm *comm;

static void fill(void)
{
    for (int i = 0; i < N; i++) {
        from[i] = 0.5f * (float)i - 3;
        to[i] = -1;
    }
}

static bool open_all(void)
{
    group = lt_group_self_new();
    return lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }) == LT_OK &&
           lt_comm_open(&comm, dev, group, true) == LT_OK;
}

static void close_all(void)
{
    lt_comm_close(comm);
    lt_dev_close(dev);
    lt_group_close(group);
}

LT_TEST(comm_self_is_rank_zero_of_one)
{
    LT_CHECK(open_all());
    LT_CHECK_STR(comm->ops->name, "self");
    LT_CHECK_INT(comm->rank, 0);
    LT_CHECK_INT(comm->world, 1);
    LT_CHECK(comm->dev == dev && comm->group == group);
    LT_CHECK_OK(comm->ops->check(comm));
    close_all();
    lt_comm_close(NULL);
    lt_group_close(NULL);
}

LT_TEST(comm_self_collectives_copy)
{
    LT_CHECK(open_all());
    fill();
    comm->ops->group_begin(comm);
    comm->ops->reduce_scatter(comm, lt_vector(to, LT_F32, N - 1), lt_vector(from, LT_F32, N - 1));
    comm->ops->group_end(comm);
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(memcmp(to, from, sizeof to - sizeof *to) == 0 && to[N - 1] == -1);
    fill();
    comm->ops->all_gather(comm, lt_vector(to, LT_F32, N), lt_vector(from, LT_F32, N));
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(memcmp(to, from, sizeof to) == 0);
    comm->ops->broadcast(comm, lt_vector(from, LT_F32, N), 0);
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(memcmp(to, from, sizeof to) == 0);
    close_all();
}

LT_TEST(comm_self_in_place_moves_nothing)
{
    uint16_t half[4] = { 0x3f80, 0x7fc1, 0xffff, 0 }; /* payloads survive: nothing is converted */

    LT_CHECK(open_all());
    comm->ops->reduce_scatter(comm, lt_vector(half, LT_BF16, 4), lt_vector(half, LT_BF16, 4));
    comm->ops->all_gather(comm, lt_vector(half, LT_BF16, 4), lt_vector(half, LT_BF16, 4));
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(half[0] == 0x3f80 && half[1] == 0x7fc1 && half[2] == 0xffff && half[3] == 0);
    close_all();
}

LT_TEST(comm_close_waits_for_what_is_enqueued)
{
    LT_CHECK(open_all());
    fill();
    comm->ops->all_gather(comm, lt_vector(to, LT_F32, N), lt_vector(from, LT_F32, N));
    lt_comm_close(comm);
    LT_CHECK(memcmp(to, from, sizeof to) == 0);
    lt_dev_close(dev);
    lt_group_close(group);
}
