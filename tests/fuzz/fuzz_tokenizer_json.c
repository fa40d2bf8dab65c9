/* fuzz_tokenizer_json.c - any bytes as a tokenizer.json.  One that parses must give back any bytes
 * that it encodes, and what is written of it must be the same tokenizer (unless it cannot be
 * written: a special token spelled like a plain one would be a duplicate key). */
#include "base/mem.h"
#include "text/encoder.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const lt_tokenizer *t, const uint8_t *data, size_t size)
{
    lt_encoder *e = lt_encoder_new(t);
    lt_ids ids = { 0 };
    lt_buf bytes = { 0 };

    lt_encode(e, data, size < 2000 ? size : 2000, &ids);
    for (size_t i = 0; i < ids.size; i++) {
        size_t n;
        const uint8_t *token = lt_tokenizer_token(t, ids.data[i], &n);

        LT_BUG_ON(!token);
        lt_buf_append(&bytes, token, n);
    }
    LT_BUG_ON(bytes.size != (size < 2000 ? size : 2000));
    LT_BUG_ON(bytes.size > 0 && memcmp(bytes.data, data, bytes.size) != 0);
    lt_buf_release(&bytes);
    lt_ids_release(&ids);
    lt_encoder_free(e);
}

static void write_and_read(const lt_tokenizer *t)
{
    lt_tokenizer *again = NULL;
    lt_buf json = { 0 };

    lt_tokenizer_write_json(t, &json);
    if (lt_tokenizer_parse(&again, json.data, json.size, "written") == LT_OK)
        LT_BUG_ON(memcmp(t->hash, again->hash, sizeof t->hash) != 0);
    else
        LT_BUG_ON(!strstr(lt_err_text(), "duplicate"));
    lt_buf_release(&json);
    lt_tokenizer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lt_tokenizer *t = NULL;

    if (lt_tokenizer_parse(&t, (const char *)data, size, "fuzz") == LT_OK) {
        use(t, data, size);
        write_and_read(t);
    }
    lt_tokenizer_free(t);
    return 0;
}
