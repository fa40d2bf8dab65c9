#!/bin/sh
# Holds the tree against the rules of style that a program can check.
#   lint.sh [ROOT]     ROOT: the tree to look at (default: the one this script is in)
# Every complaint is one line "file:line: what"; exit 1 if there is any.
#
#   format      clang-format would change nothing (skipped, and said so, when it is not installed)
#   rooms       #include "room/..." in lib/ follows lib/LAYERS
#   calls       no banned call; the library neither prints nor exits
#   conditions  no #if inside braces of lib/**/*.c
#   headers     every header compiles alone: C11, and C++17 for those that CUDA sources include
#   columns     lines of lib, tools and tests at most 100 characters
#   sizes       files at most 600 lines, tools/*/main.c 150, Makefile 200
#   names       no two sources of lib/ and tools/ share a file name
set -u
root=${1:-$(dirname "$0")/..}
cd "$root" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
found=$work/found
: >"$found"

# files DIRS NAME-PATTERN...: the regular files below DIRS, sorted
files()
{
    dirs=$1
    shift
    for pattern in "$@"; do
        for d in $dirs; do
            [ -e "$d" ] && find "$d" -type f -name "$pattern"
        done
    done | sort -u
}

# "file:line:column: error: words" of a compiler, one line a place and $1 behind it
tidy_messages()
{
    awk -v what="$1" '/: (fatal )?(error|warning): / {
        split($0, at, ":")
        sub(/^[^ ]* (fatal )?(error|warning): /, "")
        print at[1] ":" at[2] ": " $0 what
    }'
}

check_format()
{
    # 14 first: other releases of clang-format write some lines differently.
    format=$(command -v clang-format-14 || command -v clang-format)
    if [ -z "$format" ]; then
        echo "lint: clang-format is not installed: the format was not checked" >&2
        return
    fi
    files "lib tools tests" '*.c' '*.h' '*.cu' '*.cuh' |
        xargs -r "$format" --dry-run -Werror >"$work/format" 2>&1 || status=$?
    awk -F: -v failed="${status:-0}" '/error: code should be clang-formatted/ {
            if (!seen[$1]++)
                print $1 ":" $2 ": not as clang-format writes it (clang-format -i " $1 ")"
            failed = 0
        }
        END { if (failed) print ".clang-format:1: clang-format itself failed: " $0 }' "$work/format" >>"$found"
}

# One pass over the sources with comments blanked: rooms, calls, conditions.
check_sources()
{
    # strip(s) blanks comments and literals, keeping the state across lines
    cat >"$work/strip.awk" <<'AWK'
function strip(s,    out, c) {
    out = ""
    while (s != "") {
        if (in_comment) {
            c = index(s, "*/")
            if (!c) return out
            s = substr(s, c + 2); in_comment = 0
        }
        if (!match(s, /["']|\/\*|\/\//)) return out s
        out = out substr(s, 1, RSTART - 1)
        c = substr(s, RSTART, RLENGTH)
        s = substr(s, RSTART + RLENGTH)
        if (c == "//") return out
        if (c == "/*") { in_comment = 1; out = out " "; continue }
        out = out c c
        if (c == "\"" ? !match(s, /^([^"\\]|\\.)*"/) : !match(s, /^([^'\\]|\\.)*'/)) return out
        s = substr(s, RLENGTH + 1)
    }
    return out
}
AWK
    cat >"$work/sources.awk" <<'AWK'
function complain(what) { print FILENAME ":" FNR ": " what }
function calls(s, names) { return match(s, "(^|[^A-Za-z0-9_.>])(" names ")[ \t]*\\(") }
function called(s) {
    s = substr(s, RSTART, RLENGTH)
    gsub(/[^A-Za-z0-9_]/, "", s)
    return s
}
function check_include(s,    target) {
    sub(/^[^"]*"/, "", s); sub(/".*/, "", s)
    if (s !~ /\//) {
        if (in_lib && !(FILENAME ~ /^lib\/device\/cuda\// && s ~ /\.cuh$/))
            complain("#include \"" s "\" names no room")
        return
    }
    if (!in_lib) return
    target = s
    sub(/\/.*/, "", target)
    if (target != room && !((room, target) in allowed))
        complain("room " room " may not include " target " (\"" s "\"; see lib/LAYERS)")
}
FILENAME == "lib/LAYERS" {
    sub(/#.*/, "")
    if (split($0, half, ":") < 2) next
    gsub(/[ \t]/, "", half[1])
    known[half[1]] = 1
    n = split(half[2], rooms, " ")
    for (i = 1; i <= n; i++) allowed[half[1], rooms[i]] = 1
    next
}
FNR == 1 {
    in_comment = depth = continued = 0
    in_lib = FILENAME ~ /^lib\//
    split(FILENAME, part, "/")
    room = part[2]
    may_exit = FILENAME ~ /^lib\/base\/(err|mem)\.c$/
    may_print = FILENAME ~ /^lib\/base\/(log|err|mem|options)\.c$/
    plain_c = in_lib && FILENAME ~ /\.c$/
    if (in_lib && !(room in known)) complain("room " room " has no line in lib/LAYERS")
}
{
    was_comment = in_comment
    line = strip($0)
    if (!was_comment && line ~ /^[ \t]*#[ \t]*include[ \t]*"/) check_include($0)
    if (calls(line, "strcpy|strcat|sprintf|vsprintf|strtok|atoi|atof|gets"))
        complain("banned call " called(line))
    if (in_lib && !may_exit && calls(line, "exit|abort"))
        complain("the library may not call " called(line))
    if (in_lib && !may_print &&
        (calls(line, "printf|vprintf|puts|putchar|perror") || line ~ /fprintf[ \t]*\([ \t]*stderr/))
        complain("the library prints through base/log.h only")
    if (continued || line ~ /^[ \t]*#/) {
        if (!continued && plain_c && depth > 0 && line ~ /^[ \t]*#[ \t]*(if|el|endif)/)
            complain("preprocessor condition inside braces")
        continued = $0 ~ /\\$/
    } else {
        depth += gsub(/{/, "", line) - gsub(/}/, "", line)
    }
}
AWK
    files "lib tools tests" '*.c' '*.h' '*.cu' '*.cuh' |
        xargs -r awk -f "$work/strip.awk" -f "$work/sources.awk" lib/LAYERS >>"$found"
}

check_headers()
{
    flags="-fsyntax-only -Wall -Wextra -Wno-unused -Werror -D_GNU_SOURCE -Ilib"
    flags="$flags -isystem ${CUDA_HOME:-/usr/local/cuda}/include"
    files lib '*.h' >"$work/headers"
    [ -d "${CUDA_HOME:-/usr/local/cuda}/include" ] || sed -i '/^lib\/device\/cuda\//d' "$work/headers"
    if command -v mpicc >/dev/null; then
        flags="$flags $(mpicc -show | tr ' ' '\n' | sed -n 's/^-I/-isystem /p' | tr '\n' ' ')"
    else
        sed -i '/^lib\/comm\/mpi\//d' "$work/headers"
    fi
    xargs -r "${CC:-gcc}" -x c -std=c11 $flags <"$work/headers" 2>"$work/c"
    tidy_messages " (header compiled alone as C11)" <"$work/c" >>"$found"
    grep -E '^lib/(device/[^/]*|base/(err|dtype|rng))\.h$' "$work/headers" |
        xargs -r "${CXX:-g++}" -x c++ -std=c++17 $flags 2>"$work/cxx"
    tidy_messages " (header compiled alone as C++17)" <"$work/cxx" >>"$found"
}

# A line of text for the terminal, "...\n" alone on its line, is as long as what it prints: breaking
# the literal would hide its width.
check_columns()
{
    cat >"$work/columns.awk" <<'AWK'
{
    line = $0
    if (line ~ /^ *"([^"\\]|\\.)*\\n",?$/) {
        gsub(/^ *"|(\\n)+",?$/, "", line)
        gsub(/\\"/, "\"", line)
    }
    gsub(/[\200-\277]/, "", line) # all bytes of a UTF-8 character but its first
    if (length(line) > 100) print FILENAME ":" FNR ": longer than 100 columns"
}
AWK
    files "lib tools tests" '*.c' '*.h' '*.cu' '*.cuh' |
        LC_ALL=C xargs -r awk -f "$work/columns.awk" >>"$found"
}

check_sizes()
{
    files "Makefile lib tools tests pipelines" '*.c' '*.h' '*.cu' '*.cuh' '*.sh' '*.bats' '*.mk' \
        Makefile | xargs -r awk '
        FNR == 1 {
            most = FILENAME == "Makefile" ? 200 : FILENAME ~ /^tools\/[^\/]*\/main\.c$/ ? 150 : 600
        }
        FNR == most + 1 { print FILENAME ":" FNR ": longer than " most " lines" }' >>"$found"
}

check_names()
{
    files "lib tools" '*.c' '*.h' '*.cu' '*.cuh' '*.S' | awk -F/ '
        $NF == "main.c" { next }
        $NF in first { print $0 ":1: same file name as " first[$NF]; next }
        { first[$NF] = $0 }' >>"$found"
}

check_format
check_sources
check_headers
check_columns
check_sizes
check_names
sort -u -t: -k1,1 -k2,2n -k3 "$found" | tee "$work/sorted"
n=$(wc -l <"$work/sorted")
if [ "$n" -gt 0 ]; then
    echo "lint: $n complaint(s)" >&2
    exit 1
fi
echo "lint: clean" >&2
