/* tokenize_corpus.c - the inputs of a run, and the summary of what went through. */
#include "base/json.h"
#include "base/log.h"
#include "tokenize_pipeline.h"

#include <string.h>

/* C escapes: \n \t \r \0 \\ \xHH. */
static lt_err unescape(lt_buf *out, const char *s)
{
    static const char names[] = "ntr0\\", values[] = "\n\t\r\0\\";

    for (; *s; s++) {
        const char *at = s[1] ? strchr(names, s[1]) : NULL;
        unsigned byte;
        int used;

        if (*s != '\\') {
            lt_buf_append(out, s, 1);
        } else if (at) {
            lt_buf_append(out, values + (at - names), 1);
            s++;
        } else if (s[1] == 'x' && sscanf(s + 2, "%2x%n", &byte, &used) == 1 && used == 2) {
            uint8_t b = (uint8_t)byte;

            lt_buf_append(out, &b, 1);
            s += 3;
        } else {
            return lt_fail(LT_EUSAGE, "--separator: \"%s\": expected \\n \\t \\r \\0 \\\\ or \\xHH",
                           s);
        }
    }
    return out->size > 0 ? LT_OK : lt_fail(LT_EUSAGE, "--separator is empty");
}

lt_err corpus_open(corpus *c, const tokenize_args *args)
{
    lt_err err;

    *c = (corpus){ 0 };
    lt_input_list_init(&c->inputs);
    if (args->separator)
        LT_TRY(err = unescape(&c->separator, args->separator));
    for (size_t i = 0; i < args->inputs.n; i++)
        LT_TRY(err = lt_input_list_add(&c->inputs, args->inputs.items[i], args->field != NULL));
    c->options = (lt_text_options){
        .inputs = &c->inputs,
        .field = args->field ? args->field : "text",
        .refuse_invalid = strcmp(args->invalid, "error") == 0,
        .refuse_bad_lines = args->strict,
    };
    return LT_OK;
fail:
    corpus_release(c);
    return err;
}

void corpus_release(corpus *c)
{
    lt_input_list_release(&c->inputs);
    lt_buf_release(&c->separator);
}

static double per_second(const pipeline_totals *t)
{
    return t->seconds > 0 ? (double)t->counts.bytes * 1e-6 / t->seconds : 0;
}

void pipeline_summary(const pipeline_totals *t, const corpus *c)
{
    const lt_text_counts *n = &t->counts;
    lt_buf line = { 0 };

    for (uint64_t i = 0; i < n->bad_lines && i < LT_BAD_LINES_KEPT; i++)
        lt_log_warn("%s:%llu: no text in \"%s\": %s; left out",
                    lt_input_name(&c->inputs.items[n->bad[i].input]),
                    (unsigned long long)n->bad[i].line, c->options.field, n->bad[i].why);
    if (n->bad_lines > LT_BAD_LINES_KEPT)
        lt_log_warn("%llu bad lines in all", (unsigned long long)n->bad_lines);
    lt_buf_printf(&line, "%llu documents, %llu bytes", (unsigned long long)n->documents,
                  (unsigned long long)n->bytes);
    if (t->n_tokens > 0)
        lt_buf_printf(&line, ", %llu tokens, %.3f bytes/token", (unsigned long long)t->n_tokens,
                      (double)n->bytes / (double)t->n_tokens);
    lt_buf_printf(&line, ", %.1f MB/s", per_second(t));
    if (n->bad_lines > 0)
        lt_buf_printf(&line, ", %llu bad lines left out", (unsigned long long)n->bad_lines);
    if (n->replaced > 0)
        lt_buf_printf(&line, ", %llu invalid characters replaced", (unsigned long long)n->replaced);
    lt_log_info("%s", lt_buf_cstr(&line));
    lt_buf_release(&line);
}

void pipeline_summary_json(const pipeline_totals *t, const corpus *c, lt_buf *out)
{
    const lt_text_counts *n = &t->counts;

    lt_buf_printf(out,
                  "{\"documents\": %llu, \"bytes\": %llu, \"tokens\": %llu, "
                  "\"bytes_per_token\": %.6g, \"seconds\": %.6g, \"mb_per_s\": %.6g, "
                  "\"replaced\": %llu, \"bad_lines\": %llu, \"first_bad_lines\": [",
                  (unsigned long long)n->documents, (unsigned long long)n->bytes,
                  (unsigned long long)t->n_tokens,
                  t->n_tokens ? (double)n->bytes / (double)t->n_tokens : 0.0, t->seconds,
                  per_second(t), (unsigned long long)n->replaced, (unsigned long long)n->bad_lines);
    for (uint64_t i = 0; i < n->bad_lines && i < LT_BAD_LINES_KEPT; i++) {
        const char *name = lt_input_name(&c->inputs.items[n->bad[i].input]);

        lt_buf_printf(out, "%s{\"file\": ", i ? ", " : "");
        lt_json_quote(out, name, strlen(name));
        lt_buf_printf(out, ", \"line\": %llu, \"why\": ", (unsigned long long)n->bad[i].line);
        lt_json_quote(out, n->bad[i].why, strlen(n->bad[i].why));
        lt_buf_append(out, "}", 1);
    }
    lt_buf_append(out, "]", 1);
}
