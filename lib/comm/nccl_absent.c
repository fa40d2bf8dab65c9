/* comm/nccl_absent.c - stands in for nccl/ in a tree without it. */
#include "comm/comm.h"

lt_err lt_comm_nccl_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    (void)out, (void)dev, (void)group, (void)debug;
    return lt_fail(LT_ENOTSUP, "collectives among GPU ranks: this lt was built without NCCL");
}
