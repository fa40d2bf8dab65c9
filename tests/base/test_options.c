/* test_options.c - the option table: forms, faults, usage text and man page. */
#include "base/log.h"
#include "base/mem.h"
#include "base/options.h"
#include "lt_test.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct args {
    bool verbose;
    int64_t level, steps;
    double rate;
    uint64_t memory;
    const char *out;
    lt_opt_list field;
} args;

static const lt_option table[] = {
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "Output", 0, 0 },
    { "out", 'o', LT_OPT_STRING, offsetof(args, out), "FILE", "write here; - is stdout", 0, 0 },
    { "level", 'l', LT_OPT_INT, offsetof(args, level), "N", "zstd level (default 3)", 1, 19 },
    { "steps", 0, LT_OPT_INT, offsetof(args, steps), "N", "how many", 1, 1e18 },
    { "rate", 0, LT_OPT_REAL, offsetof(args, rate), "X", "a number", -1, 1 },
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "Other", 0, 0 },
    { "memory", 0, LT_OPT_SIZE, offsetof(args, memory), "SIZE", "how much", 0, 0 },
    { "field", 'f', LT_OPT_LIST, offsetof(args, field), "F", "take this member; may be repeated", 0,
      0 },
    { "verbose", 'v', LT_OPT_FLAG, offsetof(args, verbose), NULL,
      "say more about everything that happens on the way from the first line to the last one", 0,
      0 },
    { NULL, 0, 0, 0, NULL, NULL, 0, 0 },
};
static const lt_command command = { "lt-test", "[options] INPUT...", "tests options",
                                    "First paragraph.\n\n.Second - with a \\ in it.", table };

enum { MOST_WORDS = 16 };

/* Splits `line` at blanks and parses it. */
static lt_err parse(const char *line, args *a, lt_opt_list *rest, bool *done)
{
    static char copy[256];
    char *argv[MOST_WORDS + 2] = { (char[]){ "lt-test" } }, *save;
    int argc = 1;

    *a = (args){ .level = 3, .rate = 0.5 };
    lt_opt_list_release(rest);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok_r(copy, " ", &save); w && argc <= MOST_WORDS;
         w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    return lt_options_parse(&command, argc, argv, a, rest, done);
}

LT_TEST(every_form_is_accepted)
{
    lt_opt_list rest = { 0 };
    args a;
    bool done;

    LT_CHECK_OK(parse("--out=x --level 7 -v in1 --rate=-0.25 in2", &a, &rest, &done));
    LT_CHECK(a.verbose && a.level == 7 && a.rate == -0.25 && !done);
    LT_CHECK_STR(a.out, "x");
    LT_CHECK_INT(rest.n, 2);
    LT_CHECK_STR(rest.items[1], "in2");

    LT_CHECK_OK(
        parse("-ofile -l9 --memory 64KiB --rate -1 --verbose --no-verbose -", &a, &rest, &done));
    LT_CHECK(!a.verbose && a.level == 9 && a.memory == 65536 && a.rate == -1);
    LT_CHECK_STR(a.out, "file");
    LT_CHECK_STR(rest.items[0], "-");

    LT_CHECK_OK(parse("-o - -f a --field=b -fc --steps=2G -- -v --out", &a, &rest, &done));
    LT_CHECK_STR(a.out, "-");
    LT_CHECK_INT(a.field.n, 3);
    LT_CHECK_STR(a.field.items[2], "c");
    LT_CHECK_INT(a.steps, 2000000000);
    LT_CHECK_INT(rest.n, 2);
    LT_CHECK_STR(rest.items[0], "-v");
    lt_opt_list_release(&a.field);

    LT_CHECK_OK(parse("", &a, &rest, &done));
    LT_CHECK(a.level == 3 && a.rate == 0.5 && rest.n == 0); /* defaults stay */
    LT_CHECK_OK(parse("--out=", &a, &rest, &done));
    LT_CHECK_STR(a.out, "");
    lt_opt_list_release(&rest);
}

LT_TEST(faults_name_the_option)
{
    static const struct {
        const char *line, *sentence;
    } cases[] = {
        { "--level=99", "--level=99: expected 1 to 19" },
        { "-l 0", "--level=0: expected 1 to 19" },
        { "--level=abc", "--level=abc: expected a whole number, found \"abc\"" },
        { "--level=1.5", "--level=1.5: expected a whole number" },
        { "--steps=0", "--steps=0: expected at least 1" },
        { "--rate=1.01", "--rate=1.01: expected -1 to 1" },
        { "--rate nan", "--rate=nan: expected a number" },
        { "--memory=5QB", "--memory=5QB: expected a size such as" },
        { "--out", "--out: expected a value (FILE), found the end of the command line" },
        { "-l", "--level: expected a value (N)" },
        { "--verbose=yes", "--verbose takes no value" },
        { "-vx", "-vx: -v takes no value" },
        { "--no-out", "--out takes a value and cannot be negated" },
        { "--levle=3", "unknown option --levle; did you mean --level?" },
        { "--lev=3", "unknown option --lev; did you mean --level?" },
        { "--hepl", "did you mean --help?" },
        { "--quux-frobnicate", "unknown option --quux-frobnicate; lt-test --help lists them" },
        { "-q", "unknown option -q; lt-test --help lists them" },
        { "-5", "unknown option -5" },
        { "--=3", "unknown option --" },
        { "---", "unknown option ---" },
    };
    lt_opt_list rest = { 0 };
    args a;
    bool done;

    for (size_t i = 0; i < LT_COUNT(cases); i++)
        LT_CHECK_FAILS(parse(cases[i].line, &a, &rest, &done), LT_EUSAGE, cases[i].sentence);
    lt_opt_list_release(&rest);
}

/* What parse() prints to stdout for `line`; the caller frees. */
static char *printed(const char *line)
{
    char *text = lt_new0(8192);
    FILE *f = tmpfile();
    int saved = dup(STDOUT_FILENO);
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;
    args a;

    fflush(stdout);
    dup2(fileno(f), STDOUT_FILENO);
    err = parse(line, &a, &rest, &done);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(f);
    if (err != LT_OK || !done || fread(text, 1, 8191, f) == 0)
        snprintf(text, 8192, "nothing was printed");
    fclose(f);
    lt_opt_list_release(&rest);
    return text;
}

LT_TEST(version_and_help)
{
    char *version = printed("--version --nonsense"), *help = printed("-v --help --level=99");
    char *short_help = printed("-h");

    LT_CHECK_STR(version, "lt-test " LT_VERSION "\n");
    LT_CHECK_STR(short_help, help);
    LT_CHECK(strncmp(help, "usage: lt-test [options] INPUT...\n\ntests options\n\nFirst", 55) == 0);
    LT_CHECK(strstr(help, "\nOutput\n  -o, --out=FILE          write here; - is stdout\n"));
    LT_CHECK(strstr(help, "\n      --memory=SIZE       how much\n"));
    LT_CHECK(strstr(help, "  -h, --help              print this text\n"));
    for (const char *p = help; *p; p++) {
        size_t n = strcspn(p, "\n");

        LT_CHECK(n <= 80);
        LT_CHECK(n == 0 || p[n - 1] != ' ');
        p += n;
    }
    free(version);
    free(help);
    free(short_help);
}

LT_TEST(one_of_many_leaves_the_printing_to_another)
{
    static const char *const lines[] = { "--help", "--man", "--version" };
    lt_opt_list rest = { 0 };
    bool done = false;
    args a;

    for (size_t i = 0; i < LT_COUNT(lines); i++) {
        char *text;

        lt_log_defer();
        text = printed(lines[i]);
        done = parse(lines[i], &a, &rest, &done) == LT_OK && done;
        lt_log_init("test", LT_LOG_ERROR);
        LT_CHECK_STR(text, "nothing was printed");
        LT_CHECK(done);
        free(text);
    }
    lt_opt_list_release(&rest);
}

LT_TEST(man_page)
{
    char *man = printed("--man");

    LT_CHECK(strncmp(man, ".TH \"LT-TEST\" 1 \"\" \"lt " LT_VERSION "\"", 29) == 0);
    LT_CHECK(strstr(man, ".SH NAME\nlt\\-test \\- tests options\n"));
    LT_CHECK(strstr(man, "First paragraph.\n.PP\n\\&.Second \\- with a \\e in it.\n"));
    LT_CHECK(strstr(man, ".TP\n.B \\-o, \\-\\-out=FILE\nwrite here; \\- is stdout\n"));
    LT_CHECK(strstr(man, ".SS Output\n"));
    LT_CHECK(strstr(man, ".SH EXIT STATUS\n"));
    free(man);
}
