/* lt_test.h - the unit test harness: LT_TEST registers, lt_test_main.c runs all or the named ones.
 *
 * A failed check prints file, line and both values, marks the test failed and returns from it.
 * Output is TAP: "ok N - name" lines and the plan at the end. */
#ifndef LT_TEST_H
#define LT_TEST_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct lt_test_case {
    const char *name;
    void (*run)(void);
    struct lt_test_case *next;
} lt_test_case;

/* The cases in their order, and the one that runs. */
typedef struct lt_test_run {
    lt_test_case *first;
    bool failed;
    const char *skipped; /* why; NULL: it is not */
    char who[24];        /* leads what a check says: "rank 2: " */
} lt_test_run;
extern lt_test_run lt_test;

void lt_test_register(lt_test_case *c);
void lt_test_fail(const char *file, int line, const char *fmt, ...) LT_PRINTF(3, 4);
void lt_test_skip(const char *why);
const char *lt_test_data(const char *name); /* path of tests/data/NAME, static buffer */
const char *lt_test_tmp(const char *name);  /* path of NAME in this run's scratch folder, static */

#define LT_TEST(test_name)                                                                         \
    static void test_##test_name(void);                                                            \
    static lt_test_case case_##test_name = { #test_name, test_##test_name, NULL };                 \
    __attribute__((constructor)) static void register_##test_name(void)                            \
    {                                                                                              \
        lt_test_register(&case_##test_name);                                                       \
    }                                                                                              \
    static void test_##test_name(void)

#define LT_FAIL_IF(failed, ...)                                                                    \
    do {                                                                                           \
        if (failed) {                                                                              \
            lt_test_fail(__FILE__, __LINE__, __VA_ARGS__);                                         \
            return;                                                                                \
        }                                                                                          \
    } while (0)

#define LT_CHECK(cond) LT_FAIL_IF(!(cond), "%s", #cond)
#define LT_CHECK_OK(call)                                                                          \
    do {                                                                                           \
        lt_err err_ = (call);                                                                      \
        LT_FAIL_IF(err_ != LT_OK, "%s: error %d: %s", #call, (int)err_, lt_err_text());            \
    } while (0)
/* The call fails with this code and its sentence contains `part`. */
#define LT_CHECK_FAILS(call, code, part)                                                           \
    do {                                                                                           \
        lt_err err_ = (call);                                                                      \
        LT_FAIL_IF(err_ != (code), "%s: code %d, expected %s: %s", #call, (int)err_, #code,        \
                   lt_err_text());                                                                 \
        LT_FAIL_IF(!strstr(lt_err_text(), (part)), "%s: \"%s\" lacks \"%s\"", #call,               \
                   lt_err_text(), (part));                                                         \
    } while (0)
#define LT_CHECK_INT(a, b)                                                                         \
    do {                                                                                           \
        long long a_ = (long long)(a), b_ = (long long)(b);                                        \
        LT_FAIL_IF(a_ != b_, "%s is %lld, expected %s = %lld", #a, a_, #b, b_);                    \
    } while (0)
#define LT_CHECK_STR(a, b)                                                                         \
    do {                                                                                           \
        const char *a_ = (a), *b_ = (b);                                                           \
        LT_FAIL_IF(strcmp(a_, b_) != 0, "%s is \"%s\", expected \"%s\"", #a, a_, b_);              \
    } while (0)
#define LT_CHECK_NEAR(a, b, bound)                                                                 \
    do {                                                                                           \
        double a_ = (a), b_ = (b), d_ = a_ > b_ ? a_ - b_ : b_ - a_;                               \
        LT_FAIL_IF(!(d_ <= (bound)), "%s is %.9g, expected %s = %.9g within %g", #a, a_, #b, b_,   \
                   (double)(bound));                                                               \
    } while (0)

#endif
