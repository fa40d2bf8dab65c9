/* tools/ckpt/ckpt_info.c - prints a manifest: a page for people, one object for programs. */
#include "ckpt_tool.h"
#include "base/json.h"
#include "ckpt/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t count_elements(const lt_manifest *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_tensors; i++)
        n += lt_ckpt_tensor_count(&m->tensors[i]);
    return n;
}

/* Files are printed by group; the first file of a group stands for it. */
static bool is_first_of_group(const lt_manifest *m, size_t file)
{
    const char *group = m->files[file].group;

    if (!group)
        return false;
    for (size_t i = 0; i < file; i++)
        if (m->files[i].group && strcmp(m->files[i].group, group) == 0)
            return false;
    return true;
}

static void sum_group(const lt_manifest *m, const char *group, size_t *files, uint64_t *bytes)
{
    *files = 0;
    *bytes = 0;
    for (size_t i = 0; i < m->n_files; i++)
        if (m->files[i].group && strcmp(m->files[i].group, group) == 0) {
            ++*files;
            *bytes += m->files[i].size;
        }
}

static void print_text(const lt_manifest *m, const char *path)
{
    time_t when = (time_t)m->time;
    char date[32] = "";
    struct tm tm;

    if (gmtime_r(&when, &tm))
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &tm);
    printf("checkpoint  %s\n", path);
    printf("step        %" PRIu64 ", %" PRIu64 " samples, %" PRIu64 " tokens\n", m->step.step,
           m->step.samples, m->step.tokens);
    printf("run         %s, written %s by %s, %" PRIu32 " rank%s\n", m->step.run_id, date,
           m->writer, m->world, m->world == 1 ? "" : "s");
    printf("tensors     %zu, %" PRIu64 " elements\n", m->n_tensors, count_elements(m));
    for (size_t i = 0; i < m->n_files; i++) {
        size_t files;
        uint64_t bytes;

        if (!is_first_of_group(m, i))
            continue;
        sum_group(m, m->files[i].group, &files, &bytes);
        printf("group       %s, %zu file%s, %" PRIu64 " bytes\n", m->files[i].group, files,
               files == 1 ? "" : "s", bytes);
    }
    for (size_t i = 0; i < m->n_files; i++)
        if (!m->files[i].group)
            printf("file        %s, %" PRIu64 " bytes\n", m->files[i].name, m->files[i].size);
}

static void add_text(lt_buf *b, const char *key, const char *value)
{
    lt_buf_printf(b, "\"%s\": ", key);
    lt_json_quote(b, value, strlen(value));
}

static void print_json(const lt_manifest *m, const char *path)
{
    lt_buf b = { 0 };

    lt_buf_printf(&b, "{");
    add_text(&b, "checkpoint", path);
    lt_buf_printf(&b,
                  ", \"step\": %" PRIu64 ", \"samples\": %" PRIu64 ", \"tokens\": %" PRIu64 ", ",
                  m->step.step, m->step.samples, m->step.tokens);
    add_text(&b, "run_id", m->step.run_id);
    lt_buf_printf(&b, ", ");
    add_text(&b, "attempt", m->attempt);
    lt_buf_printf(&b, ", ");
    add_text(&b, "writer", m->writer);
    lt_buf_printf(&b,
                  ", \"time\": %" PRIu64 ", \"world\": %" PRIu32 ", \"elements\": %" PRIu64
                  ",\n \"tensors\": [",
                  m->time, m->world, count_elements(m));
    for (size_t i = 0; i < m->n_tensors; i++) {
        const lt_ckpt_tensor *t = &m->tensors[i];
        char shape[LT_SHAPE_TEXT_BYTES];

        lt_buf_printf(&b, "%s\n  {", i ? "," : "");
        add_text(&b, "name", t->name);
        lt_buf_printf(&b, ", \"dtype\": \"%s\", \"shape\": %s, \"trainable\": %s}",
                      lt_dtype_name(t->dtype), lt_shape_text(shape, t->n_dims, t->dims),
                      t->trainable ? "true" : "false");
    }
    lt_buf_printf(&b, "],\n \"files\": [");
    for (size_t i = 0; i < m->n_files; i++) {
        lt_buf_printf(&b, "%s\n  {", i ? "," : "");
        add_text(&b, "name", m->files[i].name);
        lt_buf_printf(&b, ", \"size\": %" PRIu64, m->files[i].size);
        if (m->files[i].group) {
            lt_buf_printf(&b, ", ");
            add_text(&b, "group", m->files[i].group);
            lt_buf_printf(&b, ", \"rank\": %" PRIu32, m->files[i].rank);
        }
        lt_buf_printf(&b, "}");
    }
    lt_buf_printf(&b, "]}\n");
    (void)fwrite(b.data, 1, b.size, stdout); /* main() checks stdout at the end */
    lt_buf_release(&b);
}

lt_err tool_info(lt_ckpt *c, bool json)
{
    if (json)
        print_json(lt_ckpt_manifest(c), lt_ckpt_path(c));
    else
        print_text(lt_ckpt_manifest(c), lt_ckpt_path(c));
    return LT_OK;
}
