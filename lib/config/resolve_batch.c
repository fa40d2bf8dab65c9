/* config/resolve_batch.c - the batch equation
 *
 *     global_batch_size = batch_size x gradient_accumulation_steps x ranks
 *
 * solved exactly; what does not divide is refused with the nearest values that do. */
#include "config/origin.h"

#include <stdlib.h>

#define MICRO  "training.batch_size"
#define ACCUM  "training.gradient_accumulation_steps"
#define GLOBAL "training.global_batch_size"

/* "training.batch_size 8 (c.yaml:7)" */
static void append_term(const lt_config *c, const char *key, int64_t x, lt_buf *out)
{
    lt_buf where = { 0 };

    lt_config_where(c, key, &where);
    lt_buf_printf(out, "%s %lld (%s)", key, (long long)x, lt_buf_cstr(&where));
    lt_buf_release(&where);
}

/* The global batch is no multiple of `key` x x ranks; key NULL: of the ranks alone. */
static lt_err fail_multiple(const lt_config *c, const char *key, int64_t x, int64_t world)
{
    int64_t global = c->training.global_batch_size, unit = x * world, below = global / unit * unit;
    lt_buf text = { 0 };
    lt_err err;

    append_term(c, GLOBAL, global, &text);
    lt_buf_printf(&text, " is no multiple of ");
    if (key) {
        append_term(c, key, x, &text);
        lt_buf_printf(&text, " x ");
    }
    lt_buf_printf(&text, "%lld ranks", (long long)world);
    if (key)
        lt_buf_printf(&text, " = %lld", (long long)unit);
    lt_buf_printf(&text, "; nearest that are: ");
    if (below > 0)
        lt_buf_printf(&text, "%lld and ", (long long)below);
    lt_buf_printf(&text, "%lld", (long long)(below + unit));
    err = lt_fail(LT_EUSAGE, "%s", lt_buf_cstr(&text));
    lt_buf_release(&text);
    return err;
}

static lt_err fail_product(const lt_config *c, int64_t product, int64_t world)
{
    lt_buf text = { 0 };
    lt_err err;

    append_term(c, GLOBAL, c->training.global_batch_size, &text);
    lt_buf_printf(&text, " must be ");
    append_term(c, MICRO, c->training.batch_size, &text);
    lt_buf_printf(&text, " x ");
    append_term(c, ACCUM, c->training.gradient_accumulation_steps, &text);
    err = lt_fail(LT_EUSAGE, "%s x %lld ranks = %lld; leave one of the three out",
                  lt_buf_cstr(&text), (long long)world, (long long)product);
    lt_buf_release(&text);
    return err;
}

/* `key` from the global batch and the other factor of it, `other` = x. */
static lt_err divide(lt_config *c, const char *key, const char *other, int64_t x, int64_t world)
{
    int64_t global = c->training.global_batch_size;
    char why[96];

    if (global % (x * world) != 0)
        return fail_multiple(c, lt_config_given(c, other) ? other : NULL, x, world);
    snprintf(why, sizeof why, "%lld / (%lld x %lld ranks)", (long long)global, (long long)x,
             (long long)world);
    lt_derive_int(c, key, global / (x * world), why);
    return LT_OK;
}

lt_err lt_config_resolve_batch(lt_config *c, int64_t world)
{
    lt_config_training *t = &c->training;
    bool micro = lt_config_given(c, MICRO), accum = lt_config_given(c, ACCUM);
    bool global = lt_config_given(c, GLOBAL);
    int64_t product;
    char why[96];

    LT_BUG_ON(world < 1 || world > 1 << 20);
    if (global && micro && !accum)
        return divide(c, ACCUM, MICRO, t->batch_size, world);
    if (!accum)
        lt_derive_int(c, ACCUM, 1, "not given");
    if (global && !micro)
        return divide(c, MICRO, ACCUM, t->gradient_accumulation_steps, world);
    if (!micro)
        lt_derive_int(c, MICRO, 8, "no batch size is given");
    product = t->batch_size * t->gradient_accumulation_steps * world;
    if (global)
        return product == t->global_batch_size ? LT_OK : fail_product(c, product, world);
    snprintf(why, sizeof why, "%lld x %lld x %lld ranks", (long long)t->batch_size,
             (long long)t->gradient_accumulation_steps, (long long)world);
    lt_derive_int(c, GLOBAL, product, why);
    return LT_OK;
}
