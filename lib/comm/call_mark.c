/* comm/call_mark.c - naming the rank whose call is another than rank 0's. */
#include "comm/call_mark.h"

#include <string.h>

static const char *const names[] = { "reduce_scatter", "all_gather", "broadcast" };

const char *lt_call_name(lt_call_kind kind)
{
    return names[kind];
}

lt_call_mark lt_call_mark_of(int64_t number, lt_call_kind kind, lt_tensor in, int root)
{
    return (lt_call_mark){ .number = number,
                           .n = in.cols,
                           .kind = (int32_t)kind,
                           .dtype = (int32_t)in.dtype,
                           .root = root };
}

void lt_call_mark_print(lt_buf *text, const lt_call_mark *mark)
{
    lt_buf_printf(text, "call %lld: %s of %lld %s", (long long)mark->number, names[mark->kind],
                  (long long)mark->n, lt_dtype_name((lt_dtype)mark->dtype));
    if (mark->kind == LT_CALL_BROADCAST)
        lt_buf_printf(text, " from rank %d", mark->root);
}

static void describe(lt_buf *text, const lt_call_mark *mark, const char *host, int rank)
{
    lt_buf_printf(text, "rank %d (%s): ", rank, host);
    lt_call_mark_print(text, mark);
}

lt_err lt_call_marks_compare(const lt_call_mark *all, char (*hosts)[LT_HOST_NAME_BYTES], int world)
{
    lt_buf text = { 0 };
    lt_err err;
    int odd = 1;

    while (odd < world && memcmp(&all[odd], &all[0], sizeof *all) == 0)
        odd++;
    if (odd >= world)
        return LT_OK;
    describe(&text, &all[odd], hosts[odd], odd);
    lt_buf_printf(&text, "; ");
    describe(&text, &all[0], hosts[0], 0);
    err = lt_fail(LT_EFAULT, "the ranks call different collectives: %s", text.data);
    lt_buf_release(&text);
    return err;
}
