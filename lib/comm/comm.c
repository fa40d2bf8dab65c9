/* comm/comm.c - closing, and what every implementation checks. */
#include "comm/comm_parts.h"

void lt_comm_close(lt_comm *comm)
{
    if (comm)
        comm->ops->close(comm);
}

static bool is_vector(lt_tensor t)
{
    return t.rows == 1 && t.cols >= 0;
}

void lt_comm_check_reduce(const lt_comm *comm, lt_tensor out, lt_tensor in)
{
    LT_BUG_ON(!is_vector(out) || !is_vector(in) || in.cols != comm->world * out.cols);
    LT_BUG_ON(out.dtype != in.dtype);
    LT_BUG_ON(in.dtype != LT_F32 && in.dtype != LT_BF16 && in.dtype != LT_F16);
}

void lt_comm_check_gather(const lt_comm *comm, lt_tensor out, lt_tensor in)
{
    LT_BUG_ON(!is_vector(out) || !is_vector(in) || out.cols != comm->world * in.cols);
    LT_BUG_ON(out.dtype != in.dtype);
}

void lt_comm_check_broadcast(const lt_comm *comm, lt_tensor x, int root)
{
    LT_BUG_ON(!is_vector(x) || root < 0 || root >= comm->world);
}

bool lt_comm_is_in_place(const lt_comm *comm, lt_tensor out, lt_tensor in)
{
    return in.data == lt_at(out, 0, comm->rank * in.cols);
}
