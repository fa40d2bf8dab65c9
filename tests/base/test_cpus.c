/* test_cpus.c - the kernel's lists of CPUs and shares of them. */
#include "base/cpus.h"
#include "lt_test.h"

static const char *text_of(const lt_cpus *s)
{
    static char text[256];
    lt_buf b = { 0 };

    lt_cpus_format(&b, s);
    snprintf(text, sizeof text, "%s", lt_buf_cstr(&b));
    lt_buf_release(&b);
    return text;
}

LT_TEST(cpus_lists_and_back)
{
    static const struct {
        const char *list, *same;
        int count;
    } cases[] = {
        { "0-3,8\n", "0-3,8", 5 },   { "5", "5", 1 },
        { "", "none", 0 },           { "\n", "none", 0 },
        { "7,6,0-1", "0-1,6-7", 4 }, { "0-63,128-191", "0-63,128-191", 128 },
        { "62-65", "62-65", 4 },     { "1023,1024-5000", "1023", 1 },
    };
    lt_cpus s;

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        LT_CHECK_OK(lt_cpus_parse(&s, cases[i].list));
        LT_CHECK_STR(text_of(&s), cases[i].same);
        LT_CHECK_INT(lt_cpus_count(&s), cases[i].count);
    }
}

LT_TEST(cpus_refuses_what_is_no_list)
{
    static const char *const bad[] = { "-1", "0-",  "3-1",   "0,,1", "0,",
                                       "a",  "0 1", "0-1-2", "0x1",  "99999999999999999999",
                                       ",0", "1;2" };
    lt_cpus s = { { 7 } };

    for (size_t i = 0; i < LT_COUNT(bad); i++)
        LT_CHECK_FAILS(lt_cpus_parse(&s, bad[i]), LT_EFORMAT, bad[i]);
    LT_CHECK_STR(text_of(&s), "0-2"); /* as it was */
}

LT_TEST(cpus_parts_are_even_and_cover_all)
{
    lt_cpus all, few, part;

    LT_CHECK_OK(lt_cpus_parse(&all, "0-4,64-69"));
    part = lt_cpus_part(&all, 0, 3);
    LT_CHECK_STR(text_of(&part), "0-2");
    part = lt_cpus_part(&all, 1, 3);
    LT_CHECK_STR(text_of(&part), "3-4,64-65");
    part = lt_cpus_part(&all, 2, 3);
    LT_CHECK_STR(text_of(&part), "66-69");
    LT_CHECK_OK(lt_cpus_parse(&few, "3"));
    part = lt_cpus_part(&few, 1, 2);
    LT_CHECK(lt_cpus_equal(&part, &few)); /* too few to be shared out */
    part = lt_cpus_and(&all, &few);
    LT_CHECK(lt_cpus_equal(&part, &few));
}

LT_TEST(cpus_of_this_process)
{
    lt_cpus all = lt_cpus_allowed(), first = lt_cpus_part(&all, 0, lt_cpus_count(&all)), now;

    LT_CHECK(lt_cpus_count(&all) >= 1);
    LT_CHECK_INT(lt_cpus_count(&first), 1);
    LT_CHECK(lt_cpus_bind(&first));
    now = lt_cpus_allowed();
    LT_CHECK(lt_cpus_equal(&now, &first));
    LT_CHECK(!lt_cpus_bind(&(lt_cpus){ { 0 } }));
    LT_CHECK(lt_cpus_bind(&all));
}
