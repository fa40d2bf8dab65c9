/* child.c - start, read, wait. */
#include "child.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_BYTES = 1 << 20 };

static void add(child_command *c, char *word)
{
    lt_array_reserve(&c->words, &c->capacity, c->n + 2, sizeof *c->words);
    c->words[c->n++] = word;
    c->words[c->n] = NULL;
}

void child_add(child_command *c, const char *fmt, ...)
{
    char *word = NULL;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(&word, fmt, args);
    va_end(args);
    LT_BUG_ON(n < 0);
    add(c, word);
}

void child_add_split(child_command *c, const char *words)
{
    for (size_t n; *words; words += n) {
        n = strcspn(words, " ");
        if (n)
            child_add(c, "%.*s", (int)n, words);
        n += words[n] == ' ';
    }
}

void child_release(child_command *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->words[i]);
    free(c->words);
}

/* Never returns: the program, or errno of the failed start through `report`. */
static void become(const child_command *c, pid_t parent, int output, int report, bool quiet)
{
    int null = quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1, why = 0;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent && dup2(output, STDOUT_FILENO) >= 0 &&
        (!quiet || dup2(null, STDERR_FILENO) >= 0))
        execvp(c->words[0], c->words);
    why = errno;
    (void)!write(report, &why, sizeof why);
    _exit(127);
}

/* *output: where its standard output is read. */
static lt_err start(pid_t *pid, int *output, const child_command *c, bool quiet)
{
    int out[2] = { -1, -1 }, report[2] = { -1, -1 }, why = 0;
    pid_t parent = getpid();
    size_t got = 0;
    lt_err err = LT_OK;

    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0 || (*pid = fork()) < 0) {
        err = lt_fail(LT_EIO, "cannot start %s: %s", c->words[0], strerror(errno));
        goto fail;
    }
    if (*pid == 0)
        become(c, parent, out[1], report[1], quiet);
    close(report[1]);
    report[1] = -1;
    *output = out[0];
    out[0] = -1;
    LT_TRY(err = lt_fd_read(report[0], &why, sizeof why, &got, "pipe"));
    if (got == sizeof why) {
        close(*output);
        waitpid(*pid, NULL, 0);
        err = lt_fail(LT_ENOENT, "cannot start \"%s\": %s", c->words[0], strerror(why));
    }
fail:
    for (int i = 0; i < 2; i++) {
        if (out[i] >= 0)
            close(out[i]);
        if (report[i] >= 0)
            close(report[i]);
    }
    return err;
}

static lt_err wait_for(pid_t pid, const char *name)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return lt_fail(LT_EFAULT, "%s: %s", name, strerror(errno));
    if (WIFSIGNALED(status))
        return lt_fail(LT_EFAULT, "%s ended by signal %d", name, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return lt_fail(LT_EFAULT, "%s ended with status %d", name, WEXITSTATUS(status));
    return LT_OK;
}

static void say(const child_command *c)
{
    lt_buf line = { 0 };

    for (size_t i = 0; i < c->n; i++)
        lt_buf_printf(&line, "%s%s", i ? " " : "", c->words[i]);
    lt_log_info("%s", lt_buf_cstr(&line));
    lt_buf_release(&line);
}

/* Others may talk on standard output too: PyTorch's warnings, MPI's. */
static lt_err find_object(json_t **out, const char *text, const char *name)
{
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line == '{')
            return lt_json_parse(out, line, strcspn(line, "\n"), name);
    }
    return lt_fail(LT_EFAULT, "%s: expected a line of JSON, found none", name);
}

lt_err child_json(json_t **out, const child_command *c)
{
    char *text = lt_new0(OUTPUT_BYTES + 1);
    size_t n = 0;
    pid_t pid;
    int output;
    lt_err err;

    say(c);
    LT_TRY(err = start(&pid, &output, c, false));
    err = lt_fd_read(output, text, OUTPUT_BYTES, &n, c->words[0]);
    close(output);
    if (err != LT_OK) {
        (void)!kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
        goto fail;
    }
    LT_TRY(err = wait_for(pid, c->words[0]));
    err = find_object(out, text, c->words[0]);
fail:
    free(text);
    return err;
}

bool child_succeeds(const child_command *c)
{
    char text[256];
    size_t n = sizeof text;
    pid_t pid;
    int output;

    if (start(&pid, &output, c, true) != LT_OK)
        return false;
    while (n == sizeof text && lt_fd_read(output, text, sizeof text, &n, c->words[0]) == LT_OK)
        ;
    close(output);
    return wait_for(pid, c->words[0]) == LT_OK;
}
