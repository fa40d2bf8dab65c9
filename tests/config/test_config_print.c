/* test_config_print.c - --print-config, the digest text and docs/config.md.
 *
 * With LT_REGENERATE=1 in the environment docs/config.md and the *.print files are rewritten. */
#include "config_case.h"
#include "base/file.h"

#include <stdlib.h>

/* What `write` prints must be what stands in the file. */
static void check_file(const char *path, lt_buf *printed)
{
    lt_buf stored = { 0 };

    if (getenv("LT_REGENERATE"))
        LT_CHECK_OK(lt_file_write_atomic(path, printed->data, printed->size));
    LT_CHECK_OK(lt_file_read_all(&stored, path, 1 << 20));
    LT_CHECK_STR(lt_buf_cstr(printed), lt_buf_cstr(&stored));
    lt_buf_release(&stored);
}

static void print_to(const lt_config *c, lt_buf *out) /* c NULL: the docs */
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    if (c)
        lt_config_print(c, f);
    else
        lt_config_docs(f);
    fclose(f);
    lt_buf_append(out, text, n);
    free(text);
}

static void check_print(const char *name)
{
    lt_config *c = NULL, *again = NULL;
    lt_buf yaml = { 0 }, printed = { 0 }, digest = { 0 }, digest_again = { 0 };
    char path[128];

    snprintf(path, sizeof path, "config/%s.yaml", name);
    LT_CHECK_OK(lt_file_read_all(&yaml, lt_test_data(path), 1 << 20));
    LT_CHECK_OK(parse_with(&c, yaml.data, "--checkpoint.dir=a b", NULL, NULL));
    LT_CHECK_OK(lt_config_resolve_batch(c, 2));
    print_to(c, &printed);
    snprintf(path, sizeof path, "config/%s.print", name);
    check_file(lt_test_data(path), &printed);

    /* what is printed loads again and means the same */
    lt_config_digest_text(c, &digest);
    LT_CHECK_OK(parse(&again, printed.data));
    lt_config_digest_text(again, &digest_again);
    LT_CHECK_STR(lt_buf_cstr(&digest_again), lt_buf_cstr(&digest));
    lt_config_free(c);
    lt_config_free(again);
    lt_buf_release(&yaml);
    lt_buf_release(&printed);
    lt_buf_release(&digest);
    lt_buf_release(&digest_again);
}

LT_TEST(config_print_of_the_seed_configuration)
{
    check_print("seed");
}

LT_TEST(config_print_of_a_deepspeed_file)
{
    check_print("deepspeed");
}

LT_TEST(config_print_quotes_what_yaml_would_read_otherwise)
{
    static const char yaml[] = "training: {sample_prompts: [\"a\\n\\u2028\\u0085\\\"b\", 'true']}\n"
                               "model: {name: gpt2}\n"
                               "data: {train: 'null', val: '- x: #', tokenizer: 'ä'}\n";
    lt_config *c = NULL, *again = NULL;
    lt_buf text = { 0 };

    LT_CHECK_OK(parse(&c, yaml));
    lt_config_digest_text(c, &text);
    LT_CHECK_OK(parse(&again, lt_buf_cstr(&text)));
    LT_CHECK_INT(again->training.sample_prompts.n, 2);
    LT_CHECK_STR(again->training.sample_prompts.items[0], "a\n\xe2\x80\xa8\xc2\x85\"b");
    LT_CHECK_STR(again->training.sample_prompts.items[1], "true");
    LT_CHECK_STR(again->data.train, "null");
    LT_CHECK_STR(again->data.val, "- x: #");
    LT_CHECK_STR(again->data.tokenizer, "ä");
    lt_buf_release(&text);
    lt_config_free(c);
    lt_config_free(again);
}

LT_TEST(config_docs_are_up_to_date)
{
    lt_buf printed = { 0 };

    print_to(NULL, &printed);
    check_file(lt_test_data("../../docs/config.md"), &printed);
    lt_buf_release(&printed);
}
