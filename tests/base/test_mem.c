/* test_mem.c - checked sizes and the byte string. */
#include "base/mem.h"
#include "lt_test.h"

#include <stdlib.h>

LT_TEST(alloc_array_checks_the_product)
{
    int *p = NULL;

    LT_CHECK_OK(lt_alloc_array(&p, 3, sizeof *p, "rows"));
    LT_CHECK(p && p[0] == 0 && p[2] == 0);
    free(p);
    p = NULL;
    LT_CHECK_FAILS(lt_alloc_array(&p, UINT64_MAX / 2, 8, "rows"), LT_ENOMEM, "rows: no memory for");
    LT_CHECK_FAILS(lt_alloc_array(&p, (uint64_t)1 << 61, 4, "rows"), LT_ENOMEM, "of 4 bytes");
    LT_CHECK(!p);
    LT_CHECK_OK(lt_alloc_array(&p, 0, 8, "nothing"));
    LT_CHECK(p);
    free(p);
}

LT_TEST(size_muladd)
{
    uint64_t x = 0;

    LT_CHECK(lt_size_muladd(3, 4, 5, &x) && x == 17);
    LT_CHECK(lt_size_muladd(UINT64_MAX, 1, 0, &x) && x == UINT64_MAX);
    LT_CHECK(!lt_size_muladd(UINT64_MAX, 1, 1, &x));
    LT_CHECK(!lt_size_muladd((uint64_t)1 << 32, (uint64_t)1 << 32, 0, &x));
    LT_CHECK_INT(LT_ALIGN_UP(65, 64), 128);
    LT_CHECK_INT(LT_ALIGN_UP(9, 3), 9);
}

LT_TEST(buf_grows_and_stays_terminated)
{
    lt_buf b = { 0 };

    LT_CHECK_STR(lt_buf_cstr(&b), "");
    for (int i = 0; i < 1000; i++)
        lt_buf_printf(&b, "%03d,", i);
    LT_CHECK_INT(b.size, 4000);
    LT_CHECK_INT(strlen(b.data), 4000);
    LT_CHECK(memcmp(b.data + 3996, "999,", 4) == 0);
    lt_buf_clear(&b);
    LT_CHECK_STR(lt_buf_cstr(&b), "");
    lt_buf_append(&b, "a\0b", 3);
    lt_buf_append(&b, NULL, 0);
    LT_CHECK_INT(b.size, 3);
    LT_CHECK(memcmp(b.data, "a\0b", 4) == 0);
    lt_buf_release(&b);
    LT_CHECK(!b.data && b.size == 0);
}

LT_TEST(array_reserve_keeps_the_elements)
{
    int *p = NULL;
    size_t capacity = 0;

    for (size_t i = 0; i < 1000; i++) {
        lt_array_reserve(&p, &capacity, i + 1, sizeof *p);
        LT_CHECK(capacity > i);
        p[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++)
        LT_CHECK_INT(p[i], i);
    free(p);
    LT_CHECK(lt_peak_rss() > 100000);
}
