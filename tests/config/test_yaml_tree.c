/* test_yaml_tree.c - the YAML that is accepted, what is refused, and that bombs are cheap. */
#include "config/yaml_tree.h"
#include "lt_test.h"

#include <stdlib.h>

static lt_err parse_bytes(const char *text, size_t n)
{
    lt_yaml_tree tree = { 0 };
    lt_yaml_node *root = NULL;
    lt_err err = lt_yaml_parse(&tree, &root, text, n, "c.yaml");

    lt_yaml_tree_release(&tree);
    return err;
}

static lt_err parse_text(const char *text)
{
    return parse_bytes(text, strlen(text));
}

LT_TEST(yaml_tree_keeps_kinds_and_places)
{
    static const char text[] = "a: 1\nb:\n  - 'x'\n  - ~\nc: {d: \"\"}\n";
    lt_yaml_tree tree = { 0 };
    lt_yaml_node *root, *n;

    LT_CHECK_OK(lt_yaml_parse(&tree, &root, text, strlen(text), "c.yaml"));
    LT_CHECK_INT(root->kind, LT_YAML_MAP);
    n = root->child;
    LT_CHECK_STR(n->key, "a");
    LT_CHECK_STR(n->text, "1");
    LT_CHECK_INT(n->kind, LT_YAML_PLAIN);
    LT_CHECK_INT(n->column, 4);
    n = n->next;
    LT_CHECK_INT(n->kind, LT_YAML_LIST);
    LT_CHECK_INT(n->key_line, 2);
    LT_CHECK_INT(n->child->kind, LT_YAML_QUOTED);
    LT_CHECK_INT(n->child->line, 3);
    LT_CHECK_INT(n->child->column, 5);
    LT_CHECK_INT(n->child->next->kind, LT_YAML_NULL);
    LT_CHECK(n->child->next->next == NULL);
    n = n->next;
    LT_CHECK_INT(n->kind, LT_YAML_MAP);
    LT_CHECK_STR(n->child->key, "d");
    LT_CHECK_INT(n->child->kind, LT_YAML_QUOTED);
    LT_CHECK(n->next == NULL);
    lt_yaml_tree_release(&tree);
}

LT_TEST(yaml_tree_takes_empty_documents)
{
    LT_CHECK_OK(parse_text(""));
    LT_CHECK_OK(parse_text("# nothing\n"));
    LT_CHECK_OK(parse_text("---\n...\n"));
    LT_CHECK_OK(parse_text("%YAML 1.1\n---\na: 1\n"));
    LT_CHECK_OK(parse_text("\xef\xbb\xbf"
                           "a: 1\n"));
}

LT_TEST(yaml_tree_refuses_what_expands_and_what_is_not_yaml)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        { "a: &x 1\n", "c.yaml:1:4: anchors (&name) are not accepted, write the value" },
        { "a: &x [1]\n", "c.yaml:1:4: anchors (&name) are not accepted, write the value" },
        { "a: *x\n", "c.yaml:1:4: aliases (*name) are not accepted, write the value" },
        { "b: 1\n<<: *x\n", "c.yaml:2:5: aliases (*name) are not accepted, write the value" },
        { "*x : 1\n", "c.yaml:1:1: aliases (*name) are not accepted, write the value" },
        { "a: !!int 1\n", "c.yaml:1:4: tags (!name) are not accepted" },
        { "a: ! 1\n", "c.yaml:1:4: tags (!name) are not accepted" },
        { "a: !x {}\n", "c.yaml:1:4: tags (!name) are not accepted" },
        { "[a]: 1\n", "c.yaml:1:1: expected a key, found a list or a mapping" },
        { "- a\n", "c.yaml:1:1: expected sections such as \"training:\", found a list" },
        { "text\n", "c.yaml:1:1: expected sections such as \"training:\", found one value" },
        { "a: 1\n---\nb: 1\n", "c.yaml:2:1: expected one document, found a second one" },
        { "a: \"x\\0y\"\n", "c.yaml:1:4: a NUL character is not accepted" },
        { "\"x\\0y\": 1\n", "c.yaml:1:1: a NUL character is not accepted" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_err err = parse_text(cases[i].text);

        LT_FAIL_IF(err != LT_EUSAGE, "accepted: %s", cases[i].text);
        LT_CHECK_STR(lt_err_text(), cases[i].sentence);
    }
    LT_CHECK_FAILS(parse_text("a: {\n"), LT_EUSAGE, "c.yaml:2:1: not valid YAML: ");
    LT_CHECK_FAILS(parse_text("a: b: c\n"), LT_EUSAGE, "c.yaml:1:5: not valid YAML: ");
    LT_CHECK_FAILS(parse_text("a: \t%\n"), LT_EUSAGE, "not valid YAML: ");
    LT_CHECK_FAILS(parse_text("a: \xff\n"), LT_EUSAGE, "c.yaml: byte 3: ");
    LT_CHECK_FAILS(parse_bytes("a: \0\n", 5), LT_EUSAGE, "c.yaml: byte 3: ");
    LT_CHECK_FAILS(parse_bytes("\xff\xfe"
                               "a\0:\0 \0b\0",
                               10),
                   LT_EUSAGE, "c.yaml: byte 0: ");
}

/* n times `piece`; each of these takes libyaml seconds to minutes when it is let run. */
static lt_err parse_repeated(const char *piece, size_t n)
{
    lt_buf text = { 0 };
    lt_err err;

    for (size_t i = 0; i < n; i++)
        lt_buf_printf(&text, "%s", piece);
    err = parse_bytes(lt_buf_cstr(&text), text.size);
    lt_buf_release(&text);
    return err;
}

LT_TEST(yaml_tree_refuses_bombs)
{
    LT_CHECK_FAILS(parse_repeated("[", 100000), LT_EUSAGE, ":1:33: nested more than 32 levels");
    LT_CHECK_FAILS(parse_repeated("[", 1000000), LT_EUSAGE, ":1:33: nested more than 32 levels");
    LT_CHECK_FAILS(parse_repeated("{a: ", 100000), LT_EUSAGE, "nested more than 32 levels");
    LT_CHECK_FAILS(parse_repeated("- ", 500000), LT_EUSAGE, "nested more than 32 levels");
    LT_CHECK_FAILS(parse_repeated("- a\n", 250000), LT_EUSAGE, ":4096:3: more than 4096 values");
    LT_CHECK_FAILS(parse_repeated("? ", 500000), LT_EUSAGE, "expected a key");
    LT_CHECK_FAILS(parse_repeated("a", 1 << 20), LT_EUSAGE, "expected sections");
    LT_CHECK_FAILS(parse_repeated("a", (1 << 20) + 1), LT_EUSAGE,
                   "c.yaml: 1048577 bytes, expected at most 1048576");
}

LT_TEST(yaml_tree_quotes_for_sentences)
{
    lt_buf b = { 0 };

    lt_yaml_quote_found(&b, "a\nb\x7f");
    LT_CHECK_STR(lt_buf_cstr(&b), "a?b?");
    lt_buf_clear(&b);
    lt_yaml_quote_found(&b, "0123456789012345678901234567890123456789012345678901234\xc3\xa4"
                            "xxxxxxxx");
    LT_CHECK_STR(lt_buf_cstr(&b), "0123456789012345678901234567890123456789012345678901234...");
    lt_buf_release(&b);
}
