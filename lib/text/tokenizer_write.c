/* tokenizer_write.c - writes a tokenizer.json that Hugging Face's libraries load. */
#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_parts.h"

static void write_spelling(const lt_vocab *v, uint32_t id, lt_buf *scratch, lt_buf *out)
{
    size_t n;
    const uint8_t *bytes = lt_vocab_bytes(v, id, &n);

    lt_buf_clear(scratch);
    if (v->tokens[id].kind == LT_TOKEN_SPECIAL)
        lt_buf_append(scratch, bytes, n);
    else
        lt_alphabet_spell(scratch, bytes, n);
    lt_json_quote(out, scratch->data, scratch->size);
}

static void write_added_tokens(const lt_vocab *v, lt_buf *scratch, lt_buf *out)
{
    const char *comma = "";

    lt_buf_printf(out, "  \"added_tokens\": [");
    for (uint32_t id = 0; id < v->n_ids; id++) {
        if (v->tokens[id].kind != LT_TOKEN_SPECIAL)
            continue;
        lt_buf_printf(out, "%s\n    {\"id\": %u, \"content\": ", comma, id);
        write_spelling(v, id, scratch, out);
        lt_buf_printf(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                           "\"normalized\": false, \"special\": true}");
        comma = ",";
    }
    lt_buf_printf(out, "%s],\n", *comma ? "\n  " : "");
}

void lt_tokenizer_write_json(const lt_tokenizer *t, lt_buf *out)
{
    const lt_vocab *v = &t->vocab;
    const char *comma = "";
    lt_buf scratch = { 0 };

    lt_buf_printf(out,
                  "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    write_added_tokens(v, &scratch, out);
    lt_buf_printf(out,
                  "  \"normalizer\": null,\n"
                  "  \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                  "\"trim_offsets\": true, \"use_regex\": true},\n"
                  "  \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                  "\"trim_offsets\": false, \"use_regex\": true},\n"
                  "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                  "\"trim_offsets\": true, \"use_regex\": true},\n"
                  "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
                  "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
                  "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
                  "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n"
                  "    \"vocab\": {");
    for (uint32_t id = 0; id < v->n_ids; id++) {
        if (v->tokens[id].kind == LT_TOKEN_HOLE)
            continue;
        lt_buf_printf(out, "%s\n      ", comma);
        write_spelling(v, id, &scratch, out);
        lt_buf_printf(out, ": %u", id);
        comma = ",";
    }
    lt_buf_printf(out, "\n    },\n    \"merges\": [");
    for (size_t r = 0; r < t->table.n; r++) {
        lt_buf_printf(out, "%s\n      [", r ? "," : "");
        write_spelling(v, t->table.merges[r].left, &scratch, out);
        lt_buf_append(out, ", ", 2);
        write_spelling(v, t->table.merges[r].right, &scratch, out);
        lt_buf_append(out, "]", 1);
    }
    lt_buf_printf(out, "\n    ]\n  }\n}\n");
    lt_buf_release(&scratch);
}
