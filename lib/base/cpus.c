/* base/cpus.c - sets of CPUs. */
#include "base/cpus.h"

#include <ctype.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static bool has(const lt_cpus *s, int cpu)
{
    return s->bits[cpu / 64] >> cpu % 64 & 1;
}

static void add(lt_cpus *s, int cpu)
{
    s->bits[cpu / 64] |= (uint64_t)1 << cpu % 64;
}

/* A number at *at, which moves behind it; false when there is none or it is no number of a CPU. */
static bool take_number(const char **at, long *out)
{
    char *end;

    if (!isdigit((unsigned char)**at))
        return false;
    *out = strtol(*at, &end, 10);
    *at = end;
    return *out < 1 << 20;
}

lt_err lt_cpus_parse(lt_cpus *out, const char *text)
{
    const char *at = text;
    lt_cpus s = { 0 };
    long first, last;

    while (*at && !isspace((unsigned char)*at)) {
        bool ok = take_number(&at, &first);

        last = first;
        if (ok && *at == '-') {
            at++;
            ok = take_number(&at, &last) && last >= first;
        }
        if (!ok || (*at == ',' && !isdigit((unsigned char)at[1])))
            return lt_fail(LT_EFORMAT, "expected a list of CPUs like 0-3,8, found \"%.80s\"", text);
        for (long cpu = first; cpu <= last && cpu < LT_CPUS_MOST; cpu++)
            add(&s, (int)cpu);
        if (*at != ',')
            break;
        at++;
    }
    if (at[strspn(at, " \t\n")] != '\0')
        return lt_fail(LT_EFORMAT, "expected a list of CPUs like 0-3,8, found \"%.80s\"", text);
    *out = s;
    return LT_OK;
}

void lt_cpus_format(lt_buf *out, const lt_cpus *s)
{
    const char *comma = "";

    for (int first = 0, end; first < LT_CPUS_MOST; first = end + 1) {
        for (end = first; end < LT_CPUS_MOST && has(s, end); end++)
            ;
        if (end == first)
            continue;
        lt_buf_printf(out, "%s%d", comma, first);
        if (end - first > 1)
            lt_buf_printf(out, "-%d", end - 1);
        comma = ",";
    }
    if (!*comma)
        lt_buf_printf(out, "none");
}

int lt_cpus_count(const lt_cpus *s)
{
    int n = 0;

    for (size_t i = 0; i < LT_COUNT(s->bits); i++)
        n += __builtin_popcountll(s->bits[i]);
    return n;
}

bool lt_cpus_equal(const lt_cpus *a, const lt_cpus *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

lt_cpus lt_cpus_and(const lt_cpus *a, const lt_cpus *b)
{
    lt_cpus both;

    for (size_t i = 0; i < LT_COUNT(both.bits); i++)
        both.bits[i] = a->bits[i] & b->bits[i];
    return both;
}

lt_cpus lt_cpus_part(const lt_cpus *s, int i, int n)
{
    int count = lt_cpus_count(s), seen = 0;
    lt_cpus part = { 0 };

    if (count < n)
        return *s;
    for (int cpu = 0; cpu < LT_CPUS_MOST; cpu++)
        if (has(s, cpu)) {
            if (seen >= count * i / n && seen < count * (i + 1) / n)
                add(&part, cpu);
            seen++;
        }
    return part;
}

lt_cpus lt_cpus_allowed(void)
{
    lt_cpus s = { 0 };
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int cpu = 0; cpu < LT_CPUS_MOST; cpu++)
            if (CPU_ISSET((size_t)cpu, &set))
                add(&s, cpu);
    return s;
}

bool lt_cpus_bind(const lt_cpus *s)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int cpu = 0; cpu < LT_CPUS_MOST; cpu++)
        if (has(s, cpu))
            CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}
