/* config/config_runnable.c - settings that are understood, but not built yet.  A row leaves this
 * table when its feature lands. */
#include "config/origin.h"

#include <string.h>

static const struct {
    const char *key;
    const char *built[3]; /* the values, as --print-config shows them */
    const char *sentence;
} limits[] = {
    { "model.dropout", { "0" }, "this build trains without dropout only" },
    { "deepspeed.bf16.check_grad_overflow",
      { "true" },
      "this build always skips a step whose gradient is not finite" },
};

static bool is_built(const char *const *built, size_t n, const char *value)
{
    for (size_t i = 0; i < n && built[i]; i++)
        if (strcmp(built[i], value) == 0)
            return true;
    return false;
}

static lt_err fail_limit(const lt_config *c, const char *key, const char *value,
                         const char *sentence)
{
    lt_buf where = { 0 };
    lt_err err;

    lt_config_where(c, key, &where);
    err = lt_fail(LT_EUSAGE, "%s: %s (%s): known, not supported yet: %s", key, value,
                  lt_buf_cstr(&where), sentence);
    lt_buf_release(&where);
    return err;
}

lt_err lt_config_check_runnable(const lt_config *c)
{
    lt_buf value = { 0 };
    lt_err err = LT_OK;

    for (size_t i = 0; i < LT_COUNT(limits); i++) {
        const lt_setting *s = lt_setting_at((size_t)lt_setting_find(limits[i].key));
        lt_setting_value v = lt_setting_fetch(c, s);

        lt_buf_clear(&value);
        lt_setting_format(&value, s, &v);
        if (!is_built(limits[i].built, LT_COUNT(limits[i].built), lt_buf_cstr(&value)))
            LT_TRY(err = fail_limit(c, limits[i].key, lt_buf_cstr(&value), limits[i].sentence));
    }
fail:
    lt_buf_release(&value);
    return err;
}
