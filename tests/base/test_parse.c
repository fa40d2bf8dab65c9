/* test_parse.c - text to number, at the edges, and the nearest name. */
#include "base/mem.h"
#include "base/options.h"
#include "lt_test.h"

LT_TEST(parse_int)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        { "0", 0 },
        { "-7", -7 },
        { "007", 7 },
        { "12k", 12000 },
        { "3M", 3000000 },
        { "-2G", -2000000000 },
        { "9223372036854775807", INT64_MAX },
        { "-9223372036854775808", INT64_MIN },
    };
    static const char *const bad[] = {
        "", "-", "+1", " 1", "1 ", "0x10", "1e3", "1kk", "1kB", "k"
    };
    static const char *const wide[] = { "9223372036854775808", "9223372036854775G",
                                        "99999999999999999999k" };
    int64_t x;

    for (size_t i = 0; i < LT_COUNT(good); i++) {
        LT_CHECK_OK(lt_parse_int(good[i].text, &x));
        LT_CHECK_INT(x, good[i].value);
    }
    for (size_t i = 0; i < LT_COUNT(bad); i++)
        LT_CHECK_FAILS(lt_parse_int(bad[i], &x), LT_EUSAGE, "expected a whole number, found");
    for (size_t i = 0; i < LT_COUNT(wide); i++)
        LT_CHECK_FAILS(lt_parse_int(wide[i], &x), LT_EUSAGE, "fits into 64 bits");
}

LT_TEST(parse_real)
{
    static const struct {
        const char *text;
        double value;
    } good[] = { { "0", 0 },    { "-1.5", -1.5 }, { "5e-5", 5e-5 },
                 { ".5", 0.5 }, { "1E3", 1000 },  { "1e-400", 0 } };
    static const char *const bad[] = { "", "-", "nan", "inf", "-inf", "0x1p3", "1,5", "1e", " 1" };
    double x;

    for (size_t i = 0; i < LT_COUNT(good); i++) {
        LT_CHECK_OK(lt_parse_real(good[i].text, &x));
        LT_CHECK(x == good[i].value);
    }
    for (size_t i = 0; i < LT_COUNT(bad); i++)
        LT_CHECK_FAILS(lt_parse_real(bad[i], &x), LT_EUSAGE, "expected a number, found");
    LT_CHECK_FAILS(lt_parse_real("1e999", &x), LT_EUSAGE, "below 1.8e308");
}

LT_TEST(parse_size)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        { "0", 0 },
        { "4096", 4096 },
        { "10B", 10 },
        { "64KiB", 65536 },
        { "3 MiB", 3145728 },
        { "141GB", 141000000000 },
        { "2KB", 2000 },
        { "1TiB", (uint64_t)1 << 40 },
        { "18446744073709551615", UINT64_MAX },
    };
    static const char *const bad[] = { "", "-1", "1.5GiB", "GiB", "1gib", "1K", "0x10", "1GBs" };
    uint64_t x;

    for (size_t i = 0; i < LT_COUNT(good); i++) {
        LT_CHECK_OK(lt_parse_size(good[i].text, &x));
        LT_CHECK(x == good[i].value);
    }
    for (size_t i = 0; i < LT_COUNT(bad); i++)
        LT_CHECK_FAILS(lt_parse_size(bad[i], &x), LT_EUSAGE, "expected a size such as");
    LT_CHECK_FAILS(lt_parse_size("18446744073709551616", &x), LT_EUSAGE, "64 bits");
    LT_CHECK_FAILS(lt_parse_size("99999999TiB", &x), LT_EUSAGE, "64 bits");
}

LT_TEST(nearest_name)
{
    static const char *const names[] = {
        "lr", "warmup_steps", "batch_size", "stage", "steps", NULL
    };
    static const char *const none[] = { NULL };
    static const struct {
        const char *word, *name;
    } cases[] = {
        { "lr", "lr" },
        { "rl", "lr" },
        { "lrr", "lr" },
        { "warmup", "warmup_steps" },
        { "wramup_step", "warmup_steps" },
        { "batchsize", "batch_size" },
        { "satge", "stage" },
        { "step", "steps" },
    };
    char longest[200];

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        const char *found = lt_nearest(cases[i].word, names);

        LT_FAIL_IF(!found || strcmp(found, cases[i].name) != 0, "%s: %s", cases[i].word,
                   found ? found : "nothing");
    }
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    LT_CHECK(!lt_nearest(longest, names));
    LT_CHECK(!lt_nearest("", names));
    LT_CHECK(!lt_nearest("x", names));
    LT_CHECK(!lt_nearest("completely_other", names));
    LT_CHECK(!lt_nearest("lr", none));
}
