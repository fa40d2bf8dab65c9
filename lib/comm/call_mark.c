/* comm/call_mark.c - comparing what the ranks call. */
#include "comm/call_mark.h"

#include <string.h>

static const char *const names[] = { "reduce_scatter", "all_gather", "broadcast" };

void lt_call_mark_print(lt_buf *text, const lt_call_mark *c)
{
    lt_buf_printf(text, "call %lld: %s of %lld %s", (long long)c->number, names[c->kind],
                  (long long)c->n, lt_dtype_name((lt_dtype)c->dtype));
    if (c->kind == LT_CALL_BROADCAST)
        lt_buf_printf(text, " from rank %d", c->root);
}

lt_err lt_call_marks_compare(const lt_call_mark *marks, char (*hosts)[LT_HOST_NAME_BYTES],
                             int world)
{
    lt_buf text = { 0 };
    int odd = 1;

    while (odd < world && memcmp(&marks[odd], &marks[0], sizeof *marks) == 0)
        odd++;
    if (odd >= world)
        return LT_OK;
    lt_buf_printf(&text, "rank %d (%s): ", odd, hosts[odd]);
    lt_call_mark_print(&text, &marks[odd]);
    lt_buf_printf(&text, "; rank 0 (%s): ", hosts[0]);
    lt_call_mark_print(&text, &marks[0]);
    (void)lt_fail(LT_EFAULT, "the ranks call different collectives: %s", text.data);
    lt_buf_release(&text);
    return LT_EFAULT;
}
