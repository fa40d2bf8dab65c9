/* tests/device/test_gemm_table.c - the table of chosen GEMM algorithms as text. */
#include "device/gemm_table.h"
#include "lt_test.h"

#include <string.h>

static const char title[] = "lt-gemm NVIDIA H200, cuBLASLt 13.1.0";
static const char good[] = "lt-gemm NVIDIA H200, cuBLASLt 13.1.0\n"
                           "bf16 bf16 nt 8 16 32 : 0 00000000000000ff\n"
                           "bf16 fp32 tn 8 16 32 : 1 fedcba9876543210\n";

LT_TEST(gemm_table_reads_what_it_writes)
{
    lt_gemm_table t = { 0 };
    lt_buf out = { 0 };

    LT_CHECK_OK(lt_gemm_table_read(&t, title, good, sizeof good - 1, "blob"));
    LT_CHECK_INT(t.n, 2);
    LT_CHECK(lt_gemm_table_find(&t, "bf16 bf16 nt 8 16 32")->fingerprint == 0xff);
    LT_CHECK_INT(lt_gemm_table_find(&t, "bf16 fp32 tn 8 16 32")->form, 1);
    LT_CHECK(!lt_gemm_table_find(&t, "bf16 fp32 tn 8 16 33"));
    lt_gemm_table_write(&t, title, &out);
    LT_CHECK_STR(lt_buf_cstr(&out), good);
    lt_buf_release(&out);
    lt_gemm_table_release(&t);
}

LT_TEST(gemm_table_refuses_another_title)
{
    lt_gemm_table t = { 0 };

    LT_CHECK_FAILS(lt_gemm_table_read(&t, "lt-gemm other", good, sizeof good - 1, "blob"),
                   LT_EMISMATCH, "blob:1: expected \"lt-gemm other\"");
    LT_CHECK_INT(t.n, 0);
}

/* Cut anywhere but at the end of a line, and with any byte of a fingerprint replaced. */
LT_TEST(gemm_table_takes_all_or_nothing)
{
    char damaged[sizeof good];
    size_t n = sizeof good - 1;

    for (size_t i = 0; i < n; i++) {
        lt_gemm_table t = { 0 };

        if (i == 0 || good[i - 1] != '\n') {
            LT_CHECK(lt_gemm_table_read(&t, title, good, i, "blob") != LT_OK);
            LT_CHECK_INT(t.n, 0);
        }
        lt_gemm_table_release(&t);
    }
    for (size_t i = n - 17; i < n - 1; i++) {
        lt_gemm_table t = { 0 };

        memcpy(damaged, good, sizeof good);
        damaged[i] = 'g';
        LT_CHECK_FAILS(lt_gemm_table_read(&t, title, damaged, n, "blob"), LT_EFORMAT, "blob:3: ");
        LT_CHECK_INT(t.n, 0);
    }
}
