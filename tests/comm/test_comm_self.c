/* test_comm_self.c - the group of one rank: a collective copies, or finds everything in place. */
#include "lt_test.h"
#include "comm/comm.h"

enum { N = 1000 };

static float from[N], to[N];

static void fill(void)
{
    for (int i = 0; i < N; i++) {
        from[i] = 0.5f * (float)i - 3;
        to[i] = -1;
    }
}

LT_TEST(comm_self_is_rank_zero_of_one)
{
    lt_dev *dev = NULL;
    lt_comm *comm;
    double values[3] = { 1, -2.5, 1e300 };

    LT_CHECK_OK(lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }));
    comm = lt_comm_self_new(dev);
    LT_CHECK_INT(comm->rank, 0);
    LT_CHECK_INT(comm->world, 1);
    LT_CHECK(comm->dev == dev);
    LT_CHECK_OK(comm->ops->all_reduce(comm, values, 3));
    LT_CHECK(values[0] == 1 && values[1] == -2.5 && values[2] == 1e300);
    LT_CHECK_OK(comm->ops->barrier(comm));
    lt_comm_close(comm);
    lt_comm_close(NULL);
    lt_dev_close(dev);
}

LT_TEST(comm_self_collectives_copy)
{
    lt_dev *dev = NULL;
    lt_comm *comm;

    LT_CHECK_OK(lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 2 }));
    comm = lt_comm_self_new(dev);
    fill();
    LT_CHECK_OK(comm->ops->reduce_scatter(comm, lt_vector(to, LT_F32, N - 1),
                                          lt_vector(from, LT_F32, N - 1)));
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(memcmp(to, from, sizeof to - sizeof *to) == 0 && to[N - 1] == -1);
    fill();
    LT_CHECK_OK(comm->ops->all_gather(comm, lt_vector(to, LT_F32, N), lt_vector(from, LT_F32, N)));
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(memcmp(to, from, sizeof to) == 0);
    lt_comm_close(comm);
    lt_dev_close(dev);
}

LT_TEST(comm_self_in_place_moves_nothing)
{
    lt_dev *dev = NULL;
    lt_comm *comm;
    uint16_t half[4] = { 0x3f80, 0x7fc1, 0xffff,
                         0 }; /* NaN payloads survive: nothing is converted */

    LT_CHECK_OK(lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }));
    comm = lt_comm_self_new(dev);
    LT_CHECK_OK(
        comm->ops->reduce_scatter(comm, lt_vector(half, LT_BF16, 4), lt_vector(half, LT_BF16, 4)));
    LT_CHECK_OK(
        comm->ops->all_gather(comm, lt_vector(half, LT_BF16, 4), lt_vector(half, LT_BF16, 4)));
    LT_CHECK_OK(lt_dev_sync(dev));
    LT_CHECK(half[0] == 0x3f80 && half[1] == 0x7fc1 && half[2] == 0xffff && half[3] == 0);
    lt_comm_close(comm);
    lt_dev_close(dev);
}
