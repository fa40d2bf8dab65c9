/* base/usage.c - the --help text and the man page of a command, both from its option table. */
#include "base/mem.h"
#include "base/options.h"

#include <ctype.h>
#include <string.h>

enum { HELP_COLUMN = 26, LINE_COLUMNS = 80 };

/* Words of `text` from column `at` on, broken before LINE_COLUMNS and indented by `indent`. */
static void print_wrapped(FILE *out, const char *text, size_t at, size_t indent)
{
    bool first = true;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (!first && at + 1 + n >= LINE_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        fprintf(out, "%s%.*s", first ? "" : " ", (int)n, text);
        at += n + !first;
        first = false;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_option(const lt_option *o, FILE *out)
{
    lt_buf left = { 0 };
    size_t n;

    if (o->letter)
        lt_buf_printf(&left, "  -%c, --%s", o->letter, o->name);
    else
        lt_buf_printf(&left, "      --%s", o->name);
    if (o->type != LT_OPT_FLAG)
        lt_buf_printf(&left, "=%s", o->value ? o->value : "VALUE");
    n = left.size;
    fputs(left.data, out);
    lt_buf_release(&left);
    if (n + 2 > HELP_COLUMN)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(out, "%*s", (int)(HELP_COLUMN - n), "");
    print_wrapped(out, o->help, HELP_COLUMN, HELP_COLUMN);
}

static const lt_option builtins[] = {
    { "help", 'h', LT_OPT_FLAG, 0, NULL, "print this text", 0, 0 },
    { "man", 0, LT_OPT_FLAG, 0, NULL, "print the manual page (read it with man -l -)", 0, 0 },
    { "version", 0, LT_OPT_FLAG, 0, NULL, "print the version", 0, 0 },
};

/* A row of builtins[]; -h belongs to the command when its table has it. */
static lt_option builtin(const lt_command *cmd, size_t i)
{
    lt_option b = builtins[i];

    for (const lt_option *o = cmd->options; o->type != 0; o++)
        if (o->type != LT_OPT_HEADING && o->letter == b.letter)
            b.letter = 0;
    return b;
}

void lt_command_usage(const lt_command *cmd, FILE *out)
{
    fprintf(out, "usage: %s %s\n\n%s\n", cmd->name, cmd->synopsis, cmd->summary);
    if (cmd->details)
        fprintf(out, "\n%s\n", cmd->details);
    if (cmd->options[0].type != LT_OPT_HEADING)
        fprintf(out, "\nOptions\n");
    for (const lt_option *o = cmd->options; o->type != 0; o++) {
        if (o->type == LT_OPT_HEADING)
            fprintf(out, "\n%s\n", o->help);
        else
            print_option(o, out);
    }
    for (size_t i = 0; i < LT_COUNT(builtins); i++) {
        lt_option b = builtin(cmd, i);

        print_option(&b, out);
    }
}

/* Text for troff: backslashes and hyphens stay themselves, no line starts a request, an empty line
 * is a paragraph. */
static void print_troff(FILE *out, const char *text)
{
    bool line_start = true;

    for (; *text; text++) {
        if (line_start && *text == '\n') {
            fputs(".PP\n", out);
            continue;
        }
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        line_start = *text == '\n';
    }
    if (!line_start)
        fputc('\n', out);
}

static void man_option(const lt_option *o, FILE *out)
{
    lt_buf head = { 0 };

    if (o->letter)
        lt_buf_printf(&head, "-%c, ", o->letter);
    lt_buf_printf(&head, "--%s", o->name);
    if (o->type != LT_OPT_FLAG)
        lt_buf_printf(&head, "=%s", o->value ? o->value : "VALUE");
    fputs(".TP\n.B ", out);
    print_troff(out, head.data);
    print_troff(out, o->help);
    lt_buf_release(&head);
}

void lt_command_man(const lt_command *cmd, FILE *out)
{
    fputs(".TH \"", out);
    for (const char *p = cmd->name; *p; p++)
        fputc(*p == ' ' ? '-' : toupper((unsigned char)*p), out);
    fprintf(out, "\" 1 \"\" \"lt %s\" \"lt\"\n.SH NAME\n", LT_VERSION);
    for (const char *p = cmd->name; *p; p++)
        fputs(*p == ' ' || *p == '-' ? "\\-" : (char[]){ *p, '\0' }, out);
    fputs(" \\- ", out);
    print_troff(out, cmd->summary);
    fputs(".SH SYNOPSIS\n.B ", out);
    print_troff(out, cmd->name);
    print_troff(out, cmd->synopsis);
    if (cmd->details) {
        fputs(".SH DESCRIPTION\n", out);
        print_troff(out, cmd->details);
    }
    fputs(".SH OPTIONS\n", out);
    for (const lt_option *o = cmd->options; o->type != 0; o++) {
        if (o->type == LT_OPT_HEADING) {
            fputs(".SS ", out);
            print_troff(out, o->help);
        } else {
            man_option(o, out);
        }
    }
    for (size_t i = 0; i < LT_COUNT(builtins); i++) {
        lt_option b = builtin(cmd, i);

        man_option(&b, out);
    }
    fputs(".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nfailed\n.TP\n.B 2\nthe command line or the "
          "configuration is wrong\n.TP\n.B 65\nan input is damaged\n.TP\n.B 75\nstate was saved; "
          "start again to go on\n",
          out);
}
