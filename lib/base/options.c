/* base/options.c - parses argv by a table of lt_option.  The texts made from the same table are in
 * usage.c, text -> number and the nearest name in parse.c. */
#include "base/options.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void lt_opt_list_add(lt_opt_list *list, const char *item)
{
    lt_array_reserve(&list->items, &list->capacity, list->n + 1, sizeof *list->items);
    list->items[list->n++] = item;
}

void lt_opt_list_release(lt_opt_list *list)
{
    free(list->items);
    *list = (lt_opt_list){ 0 };
}

/* One row by its name (n bytes) or, when name is NULL, by its letter. */
static const lt_option *find(const lt_command *cmd, const char *name, size_t n, char letter)
{
    for (const lt_option *o = cmd->options; o->type != 0; o++) {
        if (o->type == LT_OPT_HEADING)
            continue;
        if (name ? strlen(o->name) == n && memcmp(o->name, name, n) == 0 : o->letter == letter)
            return o;
    }
    return NULL;
}

static void print_version(const lt_command *cmd, FILE *out)
{
    fprintf(out, "%s %s\n", cmd->name, LT_VERSION);
}

/* The built-in options: they print, and nothing after them is looked at. */
static bool print_builtin(const lt_command *cmd, const char *arg)
{
    void (*print)(const lt_command *cmd, FILE *out) = NULL;

    if (strcmp(arg, "--help") == 0 || (strcmp(arg, "-h") == 0 && !find(cmd, NULL, 0, 'h')))
        print = lt_command_usage;
    else if (strcmp(arg, "--man") == 0)
        print = lt_command_man;
    else if (strcmp(arg, "--version") == 0)
        print = print_version;
    if (print && !lt_log_defers())
        print(cmd, stdout);
    return print != NULL;
}

static lt_err unknown(const lt_command *cmd, const char *arg)
{
    lt_opt_list names = { 0 };
    size_t n = strcspn(arg, "=");
    char *word = lt_asprintf("%.*s", (int)n, arg);
    const char *near = NULL;

    if (strncmp(word, "--", 2) == 0) {
        lt_opt_list_add(&names, "help");
        lt_opt_list_add(&names, "version");
        for (const lt_option *o = cmd->options; o->type != 0; o++)
            if (o->type != LT_OPT_HEADING)
                lt_opt_list_add(&names, o->name);
        lt_opt_list_add(&names, NULL);
        near = lt_nearest(word + 2, names.items);
    }
    if (near)
        lt_fail(LT_EUSAGE, "unknown option %s; did you mean --%s?", word, near);
    else
        lt_fail(LT_EUSAGE, "unknown option %s; %s --help lists them", word, cmd->name);
    lt_opt_list_release(&names);
    free(word);
    return LT_EUSAGE;
}

/* x is outside min..max: a bound of 1e15 and more stands for none. */
static lt_err check_range(const lt_option *o, double x)
{
    if (o->max <= o->min || (x >= o->min && x <= o->max))
        return LT_OK;
    if (o->max >= 1e15)
        return lt_fail(LT_EUSAGE, "expected at least %.15g", o->min);
    return lt_fail(LT_EUSAGE, "expected %.15g to %.15g", o->min, o->max);
}

static lt_err store(const lt_option *o, void *values, const char *text)
{
    void *at = (char *)values + o->offset;
    lt_err err = LT_OK;

    switch (o->type) {
    case LT_OPT_INT: {
        int64_t x;

        LT_TRY(err = lt_parse_int(text, &x));
        LT_TRY(err = check_range(o, (double)x));
        *(int64_t *)at = x;
        break;
    }
    case LT_OPT_REAL: {
        double x;

        LT_TRY(err = lt_parse_real(text, &x));
        LT_TRY(err = check_range(o, x));
        *(double *)at = x;
        break;
    }
    case LT_OPT_SIZE: {
        uint64_t x;

        LT_TRY(err = lt_parse_size(text, &x));
        LT_TRY(err = check_range(o, (double)x));
        *(uint64_t *)at = x;
        break;
    }
    case LT_OPT_STRING:
        *(const char **)at = text;
        break;
    case LT_OPT_LIST:
        lt_opt_list_add(at, text);
        break;
    default:
        LT_BUG_ON(true);
    }
fail:
    return err;
}

/* Stores `text` and names the option, as it was written, in the sentence of a fault. */
static lt_err store_named(const lt_option *o, void *values, const char *text)
{
    lt_err err = store(o, values, text);

    return err == LT_OK ? LT_OK : lt_fail_in("--%s=%s", o->name, text);
}

static lt_err missing_value(const lt_option *o)
{
    return lt_fail(LT_EUSAGE, "--%s: expected a value (%s), found the end of the command line",
                   o->name, o->value ? o->value : "VALUE");
}

/* argv[*i] starts with "--"; takes argv[*i + 1] too when the value stands there. */
static lt_err parse_long(const lt_command *cmd, char **argv, int argc, int *i, void *values)
{
    const char *arg = argv[*i], *name = arg + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const lt_option *o = find(cmd, name, n, 0);
    bool on = true;

    if (!o && n > 3 && strncmp(name, "no-", 3) == 0) {
        o = find(cmd, name + 3, n - 3, 0);
        on = false;
        if (o && o->type != LT_OPT_FLAG)
            return lt_fail(LT_EUSAGE, "--%.*s: --%s takes a value and cannot be negated", (int)n,
                           name, o->name);
    }
    if (!o)
        return unknown(cmd, arg);
    if (o->type == LT_OPT_FLAG) {
        if (equals)
            return lt_fail(LT_EUSAGE, "%s: --%.*s takes no value", arg, (int)n, name);
        *(bool *)((char *)values + o->offset) = on;
        return LT_OK;
    }
    if (equals)
        return store_named(o, values, equals + 1);
    if (*i + 1 >= argc)
        return missing_value(o);
    return store_named(o, values, argv[++*i]);
}

/* argv[*i] is "-x" or "-xVALUE". */
static lt_err parse_short(const lt_command *cmd, char **argv, int argc, int *i, void *values)
{
    const char *arg = argv[*i];
    const lt_option *o = find(cmd, NULL, 0, arg[1]);

    if (!o)
        return unknown(cmd, arg);
    if (o->type == LT_OPT_FLAG) {
        if (arg[2])
            return lt_fail(LT_EUSAGE, "%s: -%c takes no value", arg, arg[1]);
        *(bool *)((char *)values + o->offset) = true;
        return LT_OK;
    }
    if (arg[2])
        return store_named(o, values, arg + 2);
    if (*i + 1 >= argc)
        return missing_value(o);
    return store_named(o, values, argv[++*i]);
}

lt_err lt_options_parse(const lt_command *cmd, int argc, char **argv, void *values,
                        lt_opt_list *rest, bool *done)
{
    lt_err err = LT_OK;

    *done = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];

        if (strcmp(arg, "--") == 0) {
            while (++i < argc)
                lt_opt_list_add(rest, argv[i]);
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            lt_opt_list_add(rest, arg);
            continue;
        }
        if (print_builtin(cmd, arg)) {
            *done = true;
            return LT_OK;
        }
        if (arg[1] == '-')
            LT_TRY(err = parse_long(cmd, argv, argc, &i, values));
        else
            LT_TRY(err = parse_short(cmd, argv, argc, &i, values));
    }
fail:
    return err;
}
