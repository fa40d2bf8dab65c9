/* metrics.c - lt_step_metrics <-> one line of JSON.
 *
 * One table row per field drives both ways.  The file around the lines is metrics_log.c. */
#include "monitor/metrics.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { UINT, REAL } kind;
typedef enum presence { ALWAYS, IF_SET, IF_VAL } presence;

typedef struct field {
    const char *key;
    size_t offset;
    kind kind;
    presence presence;
} field;

#define AT(name) offsetof(lt_step_metrics, name)
static const field fields[] = {
    { "step", AT(step), UINT, ALWAYS },
    { "samples", AT(samples), UINT, ALWAYS },
    { "tokens", AT(tokens), UINT, ALWAYS },
    { "time", AT(time), REAL, ALWAYS },
    { "loss", AT(loss), REAL, ALWAYS },
    { "lr", AT(lr), REAL, ALWAYS },
    { "grad_norm", AT(grad_norm), REAL, ALWAYS },
    { "loss_scale", AT(loss_scale), REAL, ALWAYS },
    { "step_ms", AT(step_ms), REAL, ALWAYS },
    { "forward_ms", AT(forward_ms), REAL, IF_SET },
    { "backward_ms", AT(backward_ms), REAL, IF_SET },
    { "optimizer_ms", AT(optimizer_ms), REAL, IF_SET },
    { "data_ms", AT(data_ms), REAL, IF_SET },
    { "tokens_per_s", AT(tokens_per_s), REAL, ALWAYS },
    { "flops_per_s", AT(flops_per_s), REAL, IF_SET },
    { "mfu", AT(mfu), REAL, IF_SET },
    { "eta_s", AT(eta_s), REAL, IF_SET },
    { "val_loss", AT(val_loss), REAL, IF_VAL },
    { "perplexity", AT(perplexity), REAL, IF_VAL },
    { "skipped_steps", AT(skipped_steps), UINT, ALWAYS },
    { "peak_rss", AT(peak_rss), UINT, ALWAYS },
    { "device_bytes", AT(device_bytes), UINT, IF_SET },
    { "power_w", AT(power_w), REAL, IF_SET },
    { "sm_mhz", AT(sm_mhz), REAL, IF_SET },
    { "temperature_c", AT(temperature_c), REAL, IF_SET },
};

static const double *real_at(const lt_step_metrics *m, const field *f)
{
    return (const double *)(const void *)((const char *)m + f->offset);
}

static const uint64_t *uint_at(const lt_step_metrics *m, const field *f)
{
    return (const uint64_t *)(const void *)((const char *)m + f->offset);
}

static bool is_zero(const lt_step_metrics *m, const field *f)
{
    return f->kind == UINT ? *uint_at(m, f) == 0 : *real_at(m, f) == 0;
}

static void encode_real(lt_buf *out, double x)
{
    char text[40];

    if (!isfinite(x)) {
        lt_buf_printf(out, "\"%s\"", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    /* Nine digits are enough for a value that was a float once, 17 for any double. */
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    lt_buf_printf(out, "%s", text);
}

void lt_metrics_encode(lt_buf *out, const lt_step_metrics *m)
{
    for (size_t i = 0; i < LT_COUNT(fields); i++) {
        const field *f = &fields[i];

        if ((f->presence == IF_SET && is_zero(m, f)) || (f->presence == IF_VAL && !m->has_val))
            continue;
        lt_buf_printf(out, "%s\"%s\":", i ? "," : "{", f->key);
        if (f->kind == UINT)
            lt_buf_printf(out, "%llu", (unsigned long long)*uint_at(m, f));
        else
            encode_real(out, *real_at(m, f));
    }
    lt_buf_printf(out, ",\"loss_hex\":\"%a\"}\n", m->loss);
}

static lt_err parse_real(double *out, const json_t *value, const char *key, const char *name)
{
    const char *text = json_string_value(value);

    if (json_is_number(value)) {
        *out = json_number_value(value);
        return LT_OK;
    }
    if (text && (!strcmp(text, "nan") || !strcmp(text, "inf") || !strcmp(text, "-inf"))) {
        *out = strtod(text, NULL);
        return LT_OK;
    }
    return lt_fail(LT_EFORMAT, "%s: %s: expected a number, \"nan\", \"inf\" or \"-inf\"", name,
                   key);
}

lt_err lt_metrics_parse(lt_step_metrics *out, const char *line, size_t n, const char *name)
{
    lt_step_metrics m = { .loss = NAN };
    json_t *object = NULL;
    lt_err err;

    LT_TRY(err = lt_json_parse(&object, line, n, name));
    if (!json_is_object(object) || !json_object_get(object, "step") ||
        !json_object_get(object, "loss")) {
        err = lt_fail(LT_EFORMAT, "%s: expected a JSON object with \"step\" and \"loss\"", name);
        goto fail;
    }
    for (size_t i = 0; i < LT_COUNT(fields); i++) {
        const field *f = &fields[i];
        const json_t *value = json_object_get(object, f->key);
        char *at = (char *)&m + f->offset;
        int64_t count = 0;

        if (!value)
            continue;
        if (f->kind == UINT) {
            LT_TRY(err = lt_json_int(object, f->key, 0, INT64_MAX, &count, name));
            *(uint64_t *)(void *)at = (uint64_t)count;
        } else {
            LT_TRY(err = parse_real((double *)(void *)at, value, f->key, name));
        }
        m.has_val |= f->presence == IF_VAL;
    }
    *out = m;
    err = LT_OK;
fail:
    json_decref(object);
    return err;
}
