/* fuzz_gemm_table.c - the text of chosen GEMM algorithms: cache file and checkpoint blob.
 *
 * The first byte's low bit puts the right title in front.  What is taken must be written so that it
 * is taken again, the same; what is refused must leave the table empty. */
#include "device/gemm_table.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char title[] = "lt-gemm G, cuBLASLt 1.2.3";
    lt_gemm_table first = { 0 }, second = { 0 };
    lt_buf in = { 0 }, out = { 0 }, again = { 0 };

    if (n == 0 || n > 1 << 14)
        return 0;
    if (data[0] & 1)
        lt_buf_printf(&in, "%s\n", title);
    lt_buf_append(&in, data + 1, n - 1);
    if (lt_gemm_table_read(&first, title, lt_buf_cstr(&in), in.size, "fuzz") == LT_OK) {
        lt_gemm_table_write(&first, title, &out);
        LT_BUG_ON(lt_gemm_table_read(&second, title, out.data, out.size, "again") != LT_OK);
        lt_gemm_table_write(&second, title, &again);
        LT_BUG_ON(out.size != again.size || memcmp(out.data, again.data, out.size) != 0);
    } else {
        LT_BUG_ON(first.n != 0);
    }
    lt_gemm_table_release(&first);
    lt_gemm_table_release(&second);
    lt_buf_release(&in);
    lt_buf_release(&out);
    lt_buf_release(&again);
    return 0;
}
