/* fuzz_jsonl.c - any bytes as a line of JSONL.  What jansson accepts as an object with a string in
 * "text" must give the same text here, and the other way round.  No JSON holds a byte 0; jansson
 * passes over one that follows a number, so there we must refuse what it takes. */
#include "base/mem.h"
#include "text/jsonl.h"
#include "text/utf8.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lt_buf out = { 0 };
    uint64_t n_replaced = 0;
    const char *wrong = lt_jsonl_field((const char *)data, size, "text", &out, &n_replaced);
    json_t *root =
        json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    json_t *text = json_object_get(root, "text");

    if (memchr(data, 0, size)) {
        LT_BUG_ON(!wrong);
    } else if (json_is_string(text)) {
        LT_BUG_ON(wrong);
        LT_BUG_ON(json_string_length(text) != out.size);
        LT_BUG_ON(out.size > 0 && memcmp(json_string_value(text), out.data, out.size) != 0);
    } else if (root) {
        LT_BUG_ON(!wrong);
    }
    LT_BUG_ON(n_replaced > size);
    json_decref(root);
    lt_buf_release(&out);
    return 0;
}
