/* test_decoder.c - ids to text as a stream. */
#include "lt_test.h"
#include "text/decoder.h"
#include "text/encoder.h"
#include "text/utf8.h"

LT_TEST(decoder_holds_back_unfinished_characters)
{
    static const char text[] =
        "a \xf0\x9f\xa6\x99 b"; /* a llama: several tokens in one character */
    lt_tokenizer *t;
    lt_encoder *e;
    lt_ids ids = { 0 };
    lt_buf out = { 0 };
    lt_decoder d;

    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    e = lt_encoder_new(t);
    lt_encode(e, text, sizeof text - 1, &ids);
    lt_decoder_init(&d, t);
    LT_CHECK(ids.size > 4);
    for (size_t i = 0; i < ids.size; i++) {
        LT_CHECK_OK(lt_decoder_push(&d, ids.data[i], &out));
        LT_CHECK_INT(lt_utf8_valid_prefix((const uint8_t *)lt_buf_cstr(&out), out.size), out.size);
        LT_CHECK(!strstr(lt_buf_cstr(&out), "\xef\xbf\xbd"));
    }
    lt_decoder_finish(&d, &out);
    LT_CHECK_STR(lt_buf_cstr(&out), text);

    lt_buf_clear(&out); /* the text ends inside the character */
    for (size_t i = 0; i < 3; i++)
        LT_CHECK_OK(lt_decoder_push(&d, ids.data[i], &out));
    lt_decoder_finish(&d, &out);
    LT_CHECK_STR(lt_buf_cstr(&out), "a \xef\xbf\xbd");
    lt_ids_release(&ids);
    lt_buf_release(&out);
    lt_encoder_free(e);
    lt_tokenizer_free(t);
}

LT_TEST(decoder_spells_special_tokens_and_refuses_unknown_ids)
{
    lt_tokenizer *t;
    lt_buf out = { 0 };
    lt_decoder d;

    LT_CHECK_OK(lt_tokenizer_open(&t, "gpt2"));
    lt_decoder_init(&d, t);
    LT_CHECK_OK(lt_decoder_push(&d, 50256, &out));
    LT_CHECK_STR(lt_buf_cstr(&out), "<|endoftext|>");
    LT_CHECK_FAILS(lt_decoder_push(&d, 50257, &out), LT_EFORMAT, "token id 50257");
    lt_buf_release(&out);
    lt_tokenizer_free(t);
}
