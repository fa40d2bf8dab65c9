# lint.bats - tests/lint.sh sees one violation of every kind in a tiny tree, and only those.

setup() {
    repo="$BATS_TEST_DIRNAME/../.."
    tree="$BATS_TEST_TMPDIR/tree"
    mkdir -p "$tree/lib/base" "$tree/lib/text" "$tree/lib/device/cuda" "$tree/tools/demo" \
        "$tree/tests"
    cp "$repo/.clang-format" "$tree/"
    printf 'base:\ntext:  base\ndevice: base   # and its own\n' >"$tree/lib/LAYERS"
    cat >"$tree/lib/base/err.h" <<'END'
#ifndef ERR_H
#define ERR_H
int lt_x(void);
#endif
END
    cat >"$tree/lib/text/words.c" <<'END'
#include "base/err.h"

/* printf( and exit( and "strcpy(" in a comment
 * #include "device/x.h" */
int lt_x(void)
{
    const char *s = "printf(\"exit(1)\") /* ";
    return s[0] == '"'; // sprintf(
}
END
}

lint() {
    run sh "$repo/tests/lint.sh" "$tree"
}

# has TEXT: one line of the output is exactly TEXT
has() {
    printf '%s\n' "$output" | grep -qxF -- "$1" || {
        printf 'no line "%s" in:\n%s\n' "$1" "$output"
        return 1
    }
}

@test "a clean tree passes, comments and strings are no violations" {
    lint
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "lint: clean" ]
}

@test "lint is clean on this tree's scripts when no root is given" {
    mkdir "$tree/tests/cli"
    cp "$repo/tests/lint.sh" "$tree/tests/"
    run sh "$tree/tests/lint.sh"
    [ "$status" -eq 0 ]
}

@test "format" {
    command -v clang-format-14 >/dev/null || command -v clang-format >/dev/null || skip "no clang-format"
    printf 'int lt_y( void );\n' >"$tree/lib/text/ugly.h"
    lint
    [ "$status" -eq 1 ]
    has "lib/text/ugly.h:1: not as clang-format writes it (clang-format -i lib/text/ugly.h)"
    rm "$tree/lib/text/ugly.h"
    printf 'NoSuchKey: yes\n' >"$tree/.clang-format"
    lint
    [ "$status" -eq 1 ]
    [[ "${lines[0]}" == ".clang-format:1: clang-format itself failed: "* ]]
}

@test "a missing clang-format is said and the other checks still count" {
    mkdir "$BATS_TEST_TMPDIR/bin"
    for tool in sh find sort awk xargs grep sed wc tee mktemp rm cat dirname gcc g++; do
        ln -s "$(command -v $tool)" "$BATS_TEST_TMPDIR/bin/$tool"
    done
    PATH="$BATS_TEST_TMPDIR/bin" run sh "$repo/tests/lint.sh" "$tree"
    [ "$status" -eq 0 ]
    has "lint: clang-format is not installed: the format was not checked"
}

@test "the include law of the rooms" {
    printf '#include "text/words.h"\n' >"$tree/lib/base/up.c"
    printf '#include "words.h"\n' >"$tree/lib/text/bare.c"
    printf '#include "cuda_own.cuh"\n#include "base/err.h"\n' >"$tree/lib/device/cuda/k.cu"
    printf '#include "text/words.h"\n#include "own.h"\n' >"$tree/tools/demo/main.c"
    mkdir "$tree/lib/attic"
    printf 'extern int lt_attic;\n' >"$tree/lib/attic/old.c"
    lint
    [ "$status" -eq 1 ]
    has 'lib/base/up.c:1: room base may not include text ("text/words.h"; see lib/LAYERS)'
    has 'lib/text/bare.c:1: #include "words.h" names no room'
    has 'lib/attic/old.c:1: room attic has no line in lib/LAYERS'
    has 'lint: 3 complaint(s)'
}

@test "banned calls, exits and prints" {
    cat >"$tree/lib/text/calls.c" <<'END'
#include <stdio.h>
/* several
   lines */ void f(char *s) { strcpy(s, "x"); }
void g(void)
{
    exit(1);
    abort ();
    printf("x");
    fprintf(stderr, "x");
    _exit(1);
    snprintf(s, 1, "x");
    s->abort();
}
END
    printf 'void f(void)\n{\n    exit(atoi("1"));\n}\n' >"$tree/tools/demo/run.c"
    printf 'void g(void)\n{\n    abort();\n}\n' >"$tree/lib/base/err.c"
    rm -f "$tree/.clang-format"
    printf 'DisableFormat: true\n' >"$tree/.clang-format"
    lint
    [ "$status" -eq 1 ]
    has 'lib/text/calls.c:3: banned call strcpy'
    has 'lib/text/calls.c:6: the library may not call exit'
    has 'lib/text/calls.c:7: the library may not call abort'
    has 'lib/text/calls.c:8: the library prints through base/log.h only'
    has 'lib/text/calls.c:9: the library prints through base/log.h only'
    has 'tools/demo/run.c:3: banned call atoi'
    has 'lint: 6 complaint(s)'
}

@test "conditions inside braces, not at file level" {
    cat >"$tree/lib/text/cond.c" <<'END'
#if defined(__x86_64__)
#define TWO_LINES \
    {
int lt_fast(void);
#else
int lt_slow(void);
#endif
int lt_x(void)
{
#ifdef FAST
    return 1;
#endif
}
END
    printf 'DisableFormat: true\n' >"$tree/.clang-format"
    lint
    [ "$status" -eq 1 ]
    has 'lib/text/cond.c:10: preprocessor condition inside braces'
    has 'lib/text/cond.c:12: preprocessor condition inside braces'
    has 'lint: 2 complaint(s)'
}

@test "headers compile alone, in C++ too where CUDA includes them" {
    printf 'size_t lt_lonely(void);\n' >"$tree/lib/text/lonely.h"
    printf 'extern int class;\n' >"$tree/lib/text/c_only.h"
    printf 'extern int template;\n' >"$tree/lib/device/ops.h"
    lint
    [ "$status" -eq 1 ]
    [[ "$output" == *"lib/text/lonely.h:1: unknown type name"*"(header compiled alone as C11)"* ]]
    [[ "$output" == *"lib/device/ops.h:1: "*"(header compiled alone as C++17)"* ]]
    [[ "$output" != *"c_only.h"* ]]
}

@test "columns: characters are counted, printed text by what it prints" {
    printf 'DisableFormat: true\n' >"$tree/.clang-format"
    wide=$(printf '%091d' 0)
    {
        printf '/* %s%s */\n' "$wide" aaa "$wide" aaaa "$wide" äöü "$wide" äöüß
        printf '    "%s%s' "$wide" '\"23456789\n",'$'\n' "$wide" '\"234567890\n"'$'\n' \
            "$wide" '23"'$'\n'
    } >"$tree/tests/wide.c"
    cp "$tree/tests/wide.c" "$tree/lib/device/cuda/wide.cuh"
    lint
    [ "$status" -eq 1 ]
    for file in tests/wide.c lib/device/cuda/wide.cuh; do
        for line in 2 4 6; do
            has "$file:$line: longer than 100 columns"
        done
    done
    has 'lint: 6 complaint(s)'
}

@test "sizes" {
    printf 'DisableFormat: true\n' >"$tree/.clang-format"
    yes '' | head -n 601 >"$tree/lib/text/long.c"
    yes '' | head -n 600 >"$tree/lib/text/full.c"
    yes '' | head -n 151 >"$tree/tools/demo/main.c"
    yes '' | head -n 201 >"$tree/Makefile"
    lint
    [ "$status" -eq 1 ]
    has 'lib/text/long.c:601: longer than 600 lines'
    has 'tools/demo/main.c:151: longer than 150 lines'
    has 'Makefile:201: longer than 200 lines'
    has 'lint: 3 complaint(s)'
}

@test "file names are unique, main.c excepted" {
    mkdir "$tree/tools/other"
    printf 'extern int lt_a;\n' >"$tree/lib/base/words.c"
    printf 'extern int lt_a;\n' | tee "$tree/tools/demo/main.c" >"$tree/tools/other/main.c"
    lint
    [ "$status" -eq 1 ]
    has 'lib/text/words.c:1: same file name as lib/base/words.c'
    has 'lint: 1 complaint(s)'
}
