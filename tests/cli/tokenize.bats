#!/usr/bin/env bats
# Every command line, exit code and message of lt-tokenize.

setup() {
    cd "$BATS_TEST_TMPDIR" || exit 1
    data="$BATS_TEST_DIRNAME/../data/text"
    printf 'Hello world\n' >hello.txt
    printf '{"text": "Hello"}\n\n{"text": " world"}\nnot json\n{"other": 1}\n' >lines.jsonl
}

# what goes to stderr lands in the file of that name
tokenize() { lt-tokenize "$@" 2>stderr; }

@test "tokenize: --ids writes one document a line" {
    run tokenize -t gpt2 --ids hello.txt
    [ "$status" -eq 0 ]
    [ "$output" = "15496 995 198" ]
    grep -q "1 documents, 12 bytes, 3 tokens, 4.000 bytes/token" stderr
}

@test "tokenize: --count prints documents, bytes and tokens" {
    run tokenize --tokenizer=gpt2 --count hello.txt hello.txt
    [ "$status" -eq 0 ]
    [ "$output" = "$(printf 'documents 2\nbytes 24\ntokens 6')" ]
}

@test "tokenize: --count --json prints one object" {
    run tokenize -t gpt2 --count --json lines.jsonl
    [ "$status" -eq 0 ]
    [[ "$output" == '{"documents": 2, "bytes": 11, "tokens": 2, '*'"bad_lines": 2, '* ]]
    [[ "$output" == *'{"file": "lines.jsonl", "line": 4, "why": "expected an object"}'* ]]
}

@test "tokenize: all of tiktoken's answers" {
    lt-tokenize -q -t gpt2 --ids "$data/gpt2_golden.jsonl.zst" >got
    zstd -dc "$data/gpt2_golden.jsonl.zst" |
        sed 's/.*"ids": *\[\([0-9, ]*\)\]}$/\1/; s/, */ /g' >want
    [ "$(wc -l <got)" -eq 3000 ]
    cmp got want
}

@test "tokenize: bad lines are named, counted and left out" {
    run tokenize -t gpt2 --ids lines.jsonl
    [ "$status" -eq 0 ]
    [ "$output" = "$(printf '15496\n995')" ]
    grep -q 'warning: lines.jsonl:4: no text in "text": expected an object; left out' stderr
    grep -q 'warning: lines.jsonl:5: no text in "text": the field is missing; left out' stderr
    grep -q "2 bad lines left out" stderr
}

@test "tokenize: --strict stops at a bad line and leaves no output" {
    run tokenize -t gpt2 --strict lines.jsonl -o out
    [ "$status" -eq 65 ]
    [ ! -e out ]
    [ "$(cat stderr)" = 'lt-tokenize: error: lines.jsonl:4: no text in "text": expected an object' ]
    [ "$(ls)" = "$(printf 'hello.txt\nlines.jsonl\nstderr')" ]
}

@test "tokenize: --field reads any input as JSONL" {
    printf '{"body": "Hello", "text": 1}\n' >rows
    run tokenize -t gpt2 --ids --field body rows
    [ "$status" -eq 0 ]
    [ "$output" = 15496 ]
}

@test "tokenize: --separator cuts documents, with escapes" {
    printf 'Hello\n\n\n\nHello\n\n' >docs.txt
    run tokenize -q -t gpt2 --ids -s '\n\n' docs.txt
    [ "$status" -eq 0 ]
    [ "$output" = "$(printf '15496\n15496')" ]
    run tokenize -q -t gpt2 --ids -s '\x6c\x6C' hello.txt
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 2 ]
    run tokenize -t gpt2 --ids -s '\q' hello.txt
    [ "$status" -eq 2 ]
    grep -q 'separator: "\\q": expected' stderr
    run tokenize -t gpt2 --ids -s '' hello.txt
    [ "$status" -eq 2 ]
    grep -q -- '--separator is empty' stderr
}

@test "tokenize: gzip, zstd, folders and stdin" {
    mkdir -p in/sub
    gzip -c lines.jsonl >in/a.jsonl.gz
    zstd -qc hello.txt >in/sub/b.txt.zst
    cp hello.txt in/z
    run tokenize -q -t gpt2 --ids in
    [ "$status" -eq 0 ]
    [ "$output" = "$(printf '15496\n995\n15496 995 198\n15496 995 198')" ]
    gzip -c hello.txt | lt-tokenize -q -t gpt2 --ids - >got
    [ "$(cat got)" = "15496 995 198" ]
}

@test "tokenize: a truncated gzip file is named" {
    head -c 100000 /dev/urandom | base64 | gzip >x.gz
    truncate -s 50000 x.gz
    run tokenize -t gpt2 --count x.gz
    [ "$status" -eq 65 ]
    grep -q "x.gz: byte 50000: the gzip stream ends in the middle" stderr
}

@test "tokenize: the output does not depend on the number of threads" {
    for i in $(seq 40); do cat "$data/train_sample.txt"; done >text
    for i in $(seq 300); do printf '\377{"text": "line %s"}\n\xe6\x9d' "$i"; done >>text
    lt-tokenize -q -t gpt2 -j1 text lines.jsonl hello.txt >one
    for threads in 2 5; do
        lt-tokenize -q -t gpt2 -j$threads text lines.jsonl hello.txt | cmp - one
        lt-tokenize -q -t gpt2 -j$threads --ids text lines.jsonl >ids.$threads
    done
    cmp ids.2 ids.5
}

@test "tokenize: a token stream decodes to the text" {
    lt-tokenize -q -t gpt2 hello.txt "$data/train_sample.txt" -o stream
    lt-tokenize --decode -s '--' stream >back
    { cat hello.txt; printf -- --; cat "$data/train_sample.txt"; } | cmp - back
    lt-tokenize -q -t gpt2 hello.txt | lt-tokenize --decode - | cmp - hello.txt
}

@test "tokenize: lines of ids decode to the text" {
    run tokenize -t gpt2 --decode - <<<"15496 995"
    [ "$status" -eq 0 ]
    [ "$output" = "Hello world" ]
    run tokenize -t gpt2 --decode - <<<"$(printf '15496\n\n995 50256')"
    [ "$status" -eq 0 ]
    [ "$output" = "$(printf 'Hello\n\n world<|endoftext|>')" ]
    lt-tokenize -q -t gpt2 --ids "$data/train_sample.txt" | lt-tokenize -t gpt2 --decode - >back
    cmp back "$data/train_sample.txt"
}

@test "tokenize: bad ids are named with their line" {
    run tokenize -t gpt2 --decode - <<<"$(printf '1\n2 50257')"
    [ "$status" -eq 65 ]
    grep -q "standard input:2: token id 50257 is not in the vocabulary of 50257 ids" stderr
    run tokenize -t gpt2 --decode - <<<"1 x"
    [ "$status" -eq 65 ]
    grep -q "standard input:1: expected token ids" stderr
    run tokenize -t gpt2 --decode - <<<"99999999999999999999999"
    [ "$status" -eq 65 ]
    grep -q "larger than 32 bits" stderr
    run tokenize --decode hello.txt
    [ "$status" -eq 65 ]
    grep -q "hello.txt" stderr
}

@test "tokenize: invalid UTF-8 is replaced and counted, or an error" {
    printf 'a\377b' >bad.txt
    run tokenize -t gpt2 --ids bad.txt
    [ "$status" -eq 0 ]
    [ "$output" = "64 4210 65" ]
    grep -q "1 invalid characters replaced" stderr
    run tokenize -t gpt2 --ids --invalid=error bad.txt
    [ "$status" -eq 65 ]
    grep -q "bad.txt: byte 1 (0xff) is no valid UTF-8" stderr
    printf '{"text": "x"}\n{"text": "a\377"}\n' >bad.jsonl
    run tokenize -t gpt2 --ids --invalid=error bad.jsonl
    [ "$status" -eq 65 ]
    grep -q "bad.jsonl:2: byte 1 of the text (0xff)" stderr
    run tokenize -t gpt2 --ids --invalid=skip bad.txt
    [ "$status" -eq 2 ]
    grep -q "invalid=skip: expected replace or error" stderr
}

@test "tokenize: --train writes a tokenizer.json that equals Hugging Face's and can be used" {
    run tokenize --train --vocab-size 700 --special '<|endoftext|>' --special '<pad>' \
        "$data/train_sample.txt" -o t.json --json
    [ "$status" -eq 0 ]
    [[ "$output" == *'"vocab_size": 700}' ]]
    for t in t.json "$data/hf_train.json"; do
        lt-tokenize -q -t "$t" --ids "$data/train_sample.txt" >"ids.$(basename "$t")"
    done
    cmp ids.t.json ids.hf_train.json
    lt-tokenize -q -t t.json "$data/train_sample.txt" | lt-tokenize --decode - |
        cmp - "$data/train_sample.txt"
    lt-tokenize -q --train --vocab-size 700 -j5 --special '<|endoftext|>' --special '<pad>' \
        "$data/train_sample.txt" | cmp - t.json
}

@test "tokenize: --train says when pairs run out" {
    run tokenize --train --vocab-size 1000 hello.txt -o t.json
    [ "$status" -eq 0 ]
    grep -q "warning: only 257 of 1000 ids" stderr
    run tokenize --train --vocab-size 100 hello.txt -o u.json
    [ "$status" -eq 2 ]
    [ ! -e u.json ]
    grep -q "vocabulary size 100: expected 257 to" stderr
}

@test "tokenize: no document is an error and leaves the old output" {
    : >empty.txt
    echo old >out
    run tokenize -t gpt2 empty.txt -o out
    [ "$status" -eq 1 ]
    [ "$(cat out)" = old ]
    grep -q "error: no document in 1 input: 0 bad lines" stderr
    mkdir nothing
    run tokenize -t gpt2 --count nothing
    [ "$status" -eq 1 ]
    grep -q "no document in 0 inputs" stderr
}

@test "tokenize: a missing input or tokenizer is named" {
    run tokenize -t gpt2 --ids absent.txt
    [ "$status" -eq 1 ]
    grep -q "absent.txt: No such file" stderr
    run tokenize -t gpt3 --ids hello.txt
    [ "$status" -eq 1 ]
    grep -q 'tokenizer "gpt3": no such file or folder' stderr
    echo '{"model": {"type": "WordPiece"}}' >w.json
    run tokenize -t w.json --ids hello.txt
    [ "$status" -eq 1 ]
    grep -q "w.json: model WordPiece is not supported" stderr
    run tokenize -t gpt2 hello.txt -o missing/out
    [ "$status" -eq 1 ]
    grep -q "missing/out: No such file" stderr
}

@test "tokenize: a device is written in place" {
    run tokenize -q -t gpt2 hello.txt -o /dev/null
    [ "$status" -eq 0 ]
    [ -c /dev/null ]
}

@test "tokenize: a link stays, what it leads to is replaced" {
    mkdir -p far
    ln -s far/out.tok link
    run tokenize -q -t gpt2 hello.txt -o link
    [ "$status" -eq 0 ]
    [ -L link ]
    [ -f far/out.tok ]
    [ "$(ls far)" = out.tok ]
    ln -s /proc/self/fd/1 own-stdout # as /dev/stdout is
    lt-tokenize -q -t gpt2 hello.txt -o own-stdout >f
    [ -L own-stdout ]
    cmp f far/out.tok
    lt-tokenize -q -t gpt2 hello.txt -o own-stdout | cmp - f
    [ -L own-stdout ]
}

@test "tokenize: a full disk is an error" {
    [ -c /dev/full ] || skip "no /dev/full"
    run tokenize -t gpt2 hello.txt -o /dev/full
    [ "$status" -eq 1 ]
    grep -q "/dev/full: " stderr
}

@test "tokenize: what a killed one left goes with the next to the same file" {
    mkfifo pipe
    lt-tokenize -t gpt2 pipe -o out.tok 2>/dev/null 3>&- &
    job=$!
    exec 4>pipe
    until [ -e out.tok.tmp.$job ]; do kill -0 $job; sleep 0.01; done
    tokenize -t gpt2 hello.txt -o out.tok # the other one is alive
    [ -e out.tok.tmp.$job ]
    kill -9 $job
    wait $job || true
    exec 4>&-
    tokenize -t gpt2 hello.txt -o other.tok
    [ -e out.tok.tmp.$job ]
    tokenize -t gpt2 hello.txt -o out.tok
    grep -q "removed out.tok.tmp.$job, left by a process that did not finish" stderr
    [ "$(ls out.tok*)" = out.tok ]
    cmp out.tok other.tok
}

@test "tokenize: a terminal gets no binary" {
    script -qec true /dev/null >/dev/null 2>&1 || skip "no script(1), or no pseudo-terminals here"
    run script -qec "lt-tokenize -t gpt2 hello.txt" /dev/null
    [ "$status" -eq 2 ]
    [[ "$output" == *"a token stream is binary: give -o FILE"* ]]
}

@test "tokenize: options that do not go together" {
    check() {
        message=$1
        shift
        run tokenize "$@"
        [ "$status" -eq 2 ] && grep -q -e "$message" stderr || { cat stderr; return 1; }
    }
    check "no input: name files" -t gpt2 --ids
    check "tokenizer is missing" --ids hello.txt
    check "exclude each other" -t gpt2 --ids --count hello.txt
    check "needs --vocab-size" --train hello.txt
    check "does not go with it" --train --vocab-size 300 -t gpt2 hello.txt
    check "go with --train" -t gpt2 --vocab-size 300 hello.txt
    check "separator is for text" -t gpt2 --ids --field a --separator b hello.txt
    check "do not go with --decode" --decode --strict hello.txt
    check "count writes no data" -t gpt2 --count -o x hello.txt
    check "standard output carries the data" -t gpt2 --ids --json hello.txt
    check "did you mean --count" -t gpt2 --cuont hello.txt
}

@test "tokenize: --help, --version and --man" {
    run lt-tokenize --help
    [ "$status" -eq 0 ]
    [[ "$output" == *"--tokenizer"* ]]
    [[ "$output" == *"--min-frequency"* ]]
    run lt-tokenize --version
    [ "$status" -eq 0 ]
    run lt-tokenize --man
    [ "$status" -eq 0 ]
}
