/* test_model_config.c - named models, and Hugging Face's config.json in both directions. */
#include "config/model_config.h"
#include "base/file.h"
#include "base/json.h"
#include "lt_test.h"

#include <stdlib.h>

LT_TEST(model_config_names_the_gpt2_family)
{
    static const struct {
        const char *name;
        int n_layer, n_embd, n_head;
        int64_t n_params; /* as published on the model cards: tied, biases and norms included */
    } models[] = {
        { "gpt2", 12, 768, 12, 124439808 },
        { "gpt2-medium", 24, 1024, 16, 354823168 },
        { "gpt2-large", 36, 1280, 20, 774030080 },
        { "gpt2-xl", 48, 1600, 25, 1557611200 },
    };
    lt_model_config m;

    for (size_t i = 0; i < LT_COUNT(models); i++) {
        int64_t c, block;

        LT_CHECK(lt_model_config_named(&m, models[i].name));
        LT_CHECK_OK(lt_model_config_check(&m));
        LT_CHECK_INT(m.n_layer, models[i].n_layer);
        LT_CHECK_INT(m.n_embd, models[i].n_embd);
        LT_CHECK_INT(m.n_head, models[i].n_head);
        LT_CHECK_INT(m.head_dim, 64);
        c = m.n_embd;
        block = 4 * c + (3 * c * c + 3 * c) + (c * c + c) + (2 * c * m.n_inner + m.n_inner + c);
        LT_CHECK_INT((m.vocab_size + m.n_positions) * c + m.n_layer * block + 2 * c,
                     models[i].n_params);
    }
    LT_CHECK(!lt_model_config_named(&m, "gpt2-huge"));
    LT_CHECK(!lt_model_config_named(&m, ""));
}

LT_TEST(model_config_check_names_the_key)
{
    lt_model_config m;

    lt_model_config_named(&m, "gpt2");
    m.n_head = 7;
    LT_CHECK_FAILS(lt_model_config_check(&m), LT_EUSAGE, "n_embd: expected a multiple of n_head");
    lt_model_config_named(&m, "gpt2");
    m.vocab_size = 0;
    LT_CHECK_FAILS(lt_model_config_check(&m), LT_EUSAGE, "vocab_size: expected 1 to");
    lt_model_config_named(&m, "gpt2");
    m.eos_id = 50257;
    LT_CHECK_FAILS(lt_model_config_check(&m), LT_EUSAGE, "eos_token_id: expected -1 to 50256");
    lt_model_config_named(&m, "gpt2");
    m.norm_eps = 0;
    LT_CHECK_FAILS(lt_model_config_check(&m), LT_EUSAGE, "layer_norm_epsilon");
    lt_model_config_named(&m, "gpt2");
    m.act = LT_ACT_NONE;
    LT_CHECK_FAILS(lt_model_config_check(&m), LT_EUSAGE, "activation");
}

LT_TEST(hf_config_reads_gpt2)
{
    lt_model_config m;
    double dropout;

    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, lt_test_data("config/gpt2.json")));
    LT_CHECK_INT(m.vocab_size, 211);
    LT_CHECK_INT(m.n_positions, 64);
    LT_CHECK_INT(m.n_layer, 3);
    LT_CHECK_INT(m.n_embd, 48);
    LT_CHECK_INT(m.n_head, 3);
    LT_CHECK_INT(m.head_dim, 16);
    LT_CHECK_INT(m.n_inner, 192);
    LT_CHECK_INT(m.act, LT_ACT_GELU_TANH);
    LT_CHECK_INT(m.bos_id, 0);
    LT_CHECK(m.norm_eps == 1e-5 && m.init_std == 0.02 && m.tied);
    LT_CHECK(dropout == 0);
}

/* gpt2.json with one member replaced ("key": value as JSON; NULL removes it), as a file. */
static const char *altered(const char *key, const char *value)
{
    const char *path = lt_test_tmp("altered.json");
    json_t *root = NULL;
    char *text;

    if (lt_json_load(&root, lt_test_data("config/gpt2.json"), 1 << 20) != LT_OK)
        return path;
    if (value)
        json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(root, key);
    text = json_dumps(root, 0);
    if (lt_file_write_atomic(path, text, strlen(text)) != LT_OK)
        lt_test_fail(__FILE__, __LINE__, "%s", lt_err_text());
    free(text);
    json_decref(root);
    return path;
}

LT_TEST(hf_config_reads_variants)
{
    static const struct {
        const char *name;
        lt_act act;
    } acts[] = { { "\"gelu\"", LT_ACT_GELU_ERF },
                 { "\"gelu_pytorch_tanh\"", LT_ACT_GELU_TANH },
                 { "\"relu\"", LT_ACT_RELU },
                 { "\"silu\"", LT_ACT_SILU } };
    lt_model_config m;
    double dropout;

    for (size_t i = 0; i < LT_COUNT(acts); i++) {
        LT_CHECK_OK(
            lt_model_config_from_hf(&m, &dropout, altered("activation_function", acts[i].name)));
        LT_CHECK_INT(m.act, acts[i].act);
    }
    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, altered("n_inner", "100")));
    LT_CHECK_INT(m.n_inner, 100);
    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, altered("attn_pdrop", "0.25")));
    LT_CHECK(dropout == 0.25);
    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, altered("attn_pdrop", NULL)));
    LT_CHECK(dropout == 0.1); /* what transformers would take */
    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, altered("tie_word_embeddings", "false")));
    LT_CHECK(!m.tied);
    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, altered("eos_token_id", "null")));
    LT_CHECK_INT(m.eos_id, -1);
    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, altered("architectures", NULL)));
}

LT_TEST(hf_config_refuses_by_name)
{
    static const struct {
        const char *key, *value;
        lt_err code;
        const char *part;
    } cases[] = {
        { "model_type", "\"opt\"", LT_ENOTSUP, "model_type: expected gpt2, found \"opt\"" },
        { "model_type", NULL, LT_EFORMAT, "model_type: expected a string, found no such key" },
        { "architectures", "[\"GPT2ForSequenceClassification\"]", LT_ENOTSUP,
          "architectures: expected GPT2LMHeadModel, found GPT2ForSequenceClassification" },
        { "architectures", "[3]", LT_ENOTSUP, "found something that is no name" },
        { "activation_function", "\"mish\"", LT_ENOTSUP, "found \"mish\"" },
        { "activation_function", "null", LT_EFORMAT, "activation_function: expected a string" },
        { "scale_attn_by_inverse_layer_idx", "true", LT_ENOTSUP,
          "scale_attn_by_inverse_layer_idx: true is not supported" },
        { "reorder_and_upcast_attn", "true", LT_ENOTSUP,
          "reorder_and_upcast_attn: true is not supported" },
        { "scale_attn_weights", "false", LT_ENOTSUP, "scale_attn_weights: false is not supported" },
        { "add_cross_attention", "true", LT_ENOTSUP, "add_cross_attention: true" },
        { "quantization_config", "{}", LT_ENOTSUP, "quantization_config" },
        { "n_layer", NULL, LT_EFORMAT, "n_layer: expected an integer, found no such key" },
        { "n_layer", "\"3\"", LT_EFORMAT, "n_layer: expected an integer, found a string" },
        { "n_layer", "0", LT_EFORMAT, "n_layer: expected 1 to" },
        { "n_layer", "5000", LT_EFORMAT, "n_layer: expected 1 to 4096, found 5000" },
        { "n_head", "5", LT_EFORMAT, "n_embd: expected a multiple of n_head, 5, found 48" },
        { "vocab_size", "9223372036854775807", LT_EFORMAT, "vocab_size: expected 1 to" },
        { "eos_token_id", "211", LT_EFORMAT, "eos_token_id: expected -1 to 210" },
        { "attn_pdrop", "1", LT_EFORMAT, "attn_pdrop: expected 0 to below 1, found 1" },
        { "layer_norm_epsilon", "-1", LT_EFORMAT, "layer_norm_epsilon: expected more than 0" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_model_config m = { .n_layer = 77 };
        double dropout = 7;

        LT_CHECK_FAILS(lt_model_config_from_hf(&m, &dropout, altered(cases[i].key, cases[i].value)),
                       cases[i].code, cases[i].part);
        LT_CHECK(strstr(lt_err_text(), "altered.json: "));
        LT_CHECK(m.n_layer == 77 && dropout == 7);
    }
}

LT_TEST(hf_config_refuses_other_families_as_they_are)
{
    lt_model_config m;
    double dropout;

    LT_CHECK_FAILS(lt_model_config_from_hf(&m, &dropout, lt_test_data("config/opt.json")),
                   LT_ENOTSUP, "model_type: expected gpt2, found \"opt\"");
    LT_CHECK_FAILS(lt_model_config_from_hf(&m, &dropout, lt_test_data("config/llama.json")),
                   LT_ENOTSUP, "model_type: expected gpt2, found \"llama\"");
}

LT_TEST(hf_config_written_reads_back)
{
    const char *path = lt_test_tmp("config.json");
    lt_model_config m, back;
    lt_buf b = { 0 };
    json_t *root = NULL;
    double dropout;

    lt_model_config_named(&m, "gpt2-medium");
    m.act = LT_ACT_GELU_ERF;
    m.n_inner = 1000;
    m.norm_eps = 3e-6;
    m.bos_id = -1;
    m.tied = false;
    lt_model_config_to_hf(&b, &m, "bfloat16");
    LT_CHECK_OK(lt_file_write_atomic(path, b.data, b.size));
    LT_CHECK_OK(lt_model_config_from_hf(&back, &dropout, path));
    LT_CHECK(dropout == 0);
    LT_CHECK(back.n_layer == m.n_layer && back.n_embd == m.n_embd && back.n_head == m.n_head);
    LT_CHECK(back.n_inner == 1000 && back.norm_eps == 3e-6 && back.act == LT_ACT_GELU_ERF);
    LT_CHECK(back.bos_id == -1 && back.eos_id == 50256 && !back.tied);
    LT_CHECK_OK(lt_json_parse(&root, b.data, b.size, "config.json"));
    LT_CHECK_STR(json_string_value(json_object_get(root, "dtype")), "bfloat16");
    LT_CHECK_STR(json_string_value(json_object_get(root, "torch_dtype")), "bfloat16");
    json_decref(root);
    lt_buf_clear(&b);
    lt_generation_config_to_hf(&b, &m);
    LT_CHECK_OK(lt_json_parse(&root, b.data, b.size, "generation_config.json"));
    LT_CHECK(json_is_null(json_object_get(root, "bos_token_id")));
    LT_CHECK_INT(json_integer_value(json_object_get(root, "eos_token_id")), 50256);
    json_decref(root);
    lt_buf_release(&b);
}

/* Every member of transformers' own file that we write has transformers' value. */
LT_TEST(hf_config_written_agrees_with_transformers)
{
    json_t *theirs = NULL, *ours = NULL, *value;
    const char *path = lt_test_data("config/gpt2.json"), *key;
    lt_model_config m;
    lt_buf b = { 0 };
    double dropout;
    int n = 0;

    LT_CHECK_OK(lt_model_config_from_hf(&m, &dropout, path));
    LT_CHECK_OK(lt_json_load(&theirs, path, 1 << 20));
    lt_model_config_to_hf(&b, &m, "float32");
    LT_CHECK_OK(lt_json_parse(&ours, b.data, b.size, "config.json"));
    json_object_foreach(ours, key, value)
    {
        json_t *their = json_object_get(theirs, key);

        if (!their)
            continue;
        n++;
        if (json_is_number(value))
            LT_CHECK_NEAR(json_number_value(value), json_number_value(their), 0);
        else
            LT_FAIL_IF(!json_equal(value, their), "%s differs", key);
    }
    LT_CHECK(n >= 18);
    json_decref(theirs);
    json_decref(ours);
    lt_buf_release(&b);
}
