#!/usr/bin/env bats
# lt-shard: data sets from token streams, and every question that can be asked of them.

setup() {
    streams=${LT_TEST_DATA:-$BATS_TEST_DIRNAME/../data}/shard
    cd "$BATS_TEST_TMPDIR"
}

small() { # a data set of several shards in ./set
    lt-shard --out set --split train=0.9,val=0.1 --frame-tokens-log2 8 --shard-tokens 2000 "$@" \
        "$streams/docs.lts"
}

@test "shard: documents come out as they went in, and the summary counts them" {
    run small
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "lt-shard: train: 5657 tokens, 271 documents, 3 shards" ]
    [ "${lines[1]}" = "lt-shard: val: 604 tokens, 29 documents, 1 shard" ]
    lt-shard cat set/train.manifest >out
    lt-shard cat set/val.manifest >>out
    sort out | cmp - <(sort "$streams/docs.ids")
    [ "$(cat set/tokenizer.json)" = '{"version": "1.0", "name": "test"}' ]
    [ "$(ls set | tr '\n' ' ')" = "tokenizer.json train-00000.lts.zst train-00001.lts.zst train-00002.lts.zst train.manifest val-00000.lts.zst val.manifest " ]
}

@test "shard: zstd itself tests, lists and decodes every shard" {
    small 2>/dev/null
    zstd -qt set/*.zst
    zstd -l set/train-00000.lts.zst | grep -q XXH64
    zstd -dcq set/val-00000.lts.zst | od -An -v -tu2 -w2 | tr -d ' ' >from_zstd
    lt-shard cat --ids set/val.manifest | tr ' ' '\n' | cmp - from_zstd
    lt-shard cat --raw set/val.manifest | cmp - <(zstd -dcq set/val-00000.lts.zst)
}

@test "shard: ids above 16 bits, no end-of-text token" {
    lt-shard --out wide --split train=1 "$streams/wide.lts" 2>/dev/null
    lt-shard cat wide/train.manifest | cmp - "$streams/wide.ids"
    zstd -dcq wide/train-00000.lts.zst | od -An -v -tu4 -w4 | tr -d ' ' | head -3 >three
    tr ' ' '\n' <"$streams/wide.ids" | head -3 | cmp - three
    [ ! -e wide/val.manifest ]
}

@test "shard: standard input, several streams, the same bytes for any number of threads" {
    for j in 1 2 5; do
        cat "$streams/docs.lts" | lt-shard --out t$j -j $j --frame-tokens-log2 7 - "$streams/docs.lts" 2>/dev/null
    done
    diff -r t1 t2
    diff -r t1 t5
    [ "$(lt-shard info --json t1/train.manifest t1/val.manifest | grep -o '"documents": [0-9]*' | awk '{n += $2} END {print n}')" = 600 ]
}

@test "shard: the split is a function of the document, not of its neighbours" {
    small 2>/dev/null
    lt-shard --out twice --split train=0.9,val=0.1 "$streams/docs.lts" "$streams/docs.lts" 2>/dev/null
    lt-shard cat set/val.manifest | sort -u >once
    lt-shard cat twice/val.manifest | sort -u | cmp - once
    lt-shard --out seeded --seed 7 --split train=0.9,val=0.1 "$streams/docs.lts" 2>/dev/null
    if lt-shard cat seeded/val.manifest | sort -u | cmp -s - once; then false; fi
}

@test "shard: one huge document needs --split-by, and the error says so" {
    run lt-shard --out book "$streams/book.lts"
    [ "$status" -eq 2 ]
    [[ "$output" == *"val=0.01 received none of the 1 document: ask for a larger share, split by blocks of tokens (--split-by tokens:4096), or make one split (--split train=1)"* ]]
    [ ! -e book/train.manifest ]
    [ ! -e book/lt-shard.unfinished ]
    run lt-shard --out book --split-by tokens:10000000 "$streams/book.lts"
    [ "$status" -eq 2 ]
    [[ "$output" == *"received none of the 1 block: ask for a larger share, split by blocks of tokens (--split-by tokens:N with a smaller N)"* ]]
    lt-shard --out book --split train=0.8,val=0.2 --split-by tokens:500 "$streams/book.lts" 2>/dev/null
    cat <(lt-shard cat book/train.manifest) <(lt-shard cat book/val.manifest) | tr ' ' '\n' | sort >out
    tr ' ' '\n' <"$streams/book.ids" | sort | cmp - out
}

@test "shard: an existing data set is replaced only with --force" {
    small 2>/dev/null
    cp -r set before
    run small
    [ "$status" -eq 2 ]
    [[ "$output" == *"set: holds a data set already (train-00000.lts.zst); --force replaces it"* ]]
    diff -r set before
    lt-shard --out set --force --split train=1 "$streams/docs.lts" 2>/dev/null
    [ "$(ls set | tr '\n' ' ')" = "tokenizer.json train-00000.lts.zst train.manifest " ]
    lt-shard verify set/train.manifest
}

@test "shard: a failed run leaves the old set alone" {
    small 2>/dev/null
    cp -r set before
    head -c 9000 "$streams/docs.lts" >cut.lts
    run small --force cut.lts
    [ "$status" -eq 65 ]
    [[ "$output" == *"cut.lts: truncated"* ]]
    run lt-shard --out set --force "$streams/docs.lts" "$streams/other.lts"
    [ "$status" -eq 1 ]
    [[ "$output" == *"other.lts: made with another tokenizer than $streams/docs.lts"* ]]
    run lt-shard --out set --force missing.lts
    [ "$status" -eq 1 ]
    [[ "$output" == *"missing.lts: No such file or directory"* ]]
    run lt-shard --out set --force "$streams/docs.ids"
    [ "$status" -eq 65 ]
    [[ "$output" == *"docs.ids: not a token stream"* ]]
    diff -r set before
}

@test "shard: killed at any moment, there is the old set or the new one" {
    many=() n=40
    while [ $n -gt 0 ]; do many+=("$streams/docs.lts"); n=$((n - 1)); done
    lt-shard --out set --split train=0.9,val=0.1 --shard-tokens 20000 "${many[@]}" 2>/dev/null
    cp -r set first
    lt-shard --out second --seed 1 --split train=0.5,val=0.5 --shard-tokens 9000 "${many[@]}" 2>/dev/null
    old=$(cat first/*.manifest | sha256sum) new=$(cat second/*.manifest | sha256sum) seen_new=0
    for i in $(seq 20); do
        lt-shard --out set --force --seed 1 --split train=0.5,val=0.5 --shard-tokens 9000 \
            "${many[@]}" 2>/dev/null &
        sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
        kill -9 $! 2>/dev/null || true
        wait $! 2>/dev/null || true
        lt-shard verify set/train.manifest set/val.manifest >/dev/null
        t=$(lt-shard info --json set/train.manifest | grep -o '"tokens": [0-9]*')
        v=$(lt-shard info --json set/val.manifest | grep -o '"tokens": [0-9]*')
        case "$t $v" in
        "$(lt-shard info --json first/train.manifest | grep -o '"tokens": [0-9]*') $(lt-shard info --json first/val.manifest | grep -o '"tokens": [0-9]*')") ;;
        "$(lt-shard info --json second/train.manifest | grep -o '"tokens": [0-9]*') $(lt-shard info --json second/val.manifest | grep -o '"tokens": [0-9]*')")
            seen_new=$((seen_new + 1))
            lt-shard --out set --force --split train=0.9,val=0.1 --shard-tokens 20000 "${many[@]}" 2>/dev/null ;;
        *) echo "mixture: $t $v"; false ;;
        esac
    done
    lt-shard --out set --force --split train=0.9,val=0.1 --shard-tokens 20000 "${many[@]}" 2>/dev/null
    diff -r set first
}

@test "shard: killed at each rename and removal of a run, there is the old set or the new one" {
    command -v strace >/dev/null || skip "no strace"
    strace -o /dev/null true 2>/dev/null || skip "strace may not trace here"
    replace=(lt-shard --out set --force --split train=0.6,test=0.4 --shard-tokens 3000 "$streams/docs.lts")
    small 2>/dev/null
    cp -r set old
    "${replace[@]}" 2>/dev/null && mv set new
    for call in rename unlink rmdir; do
        for n in $(seq 40); do
            rm -rf set && cp -r old set
            strace -f -o /dev/null --inject=$call:signal=KILL:when=$n "${replace[@]}" 2>/dev/null && break
            if lt-shard verify set/val.manifest >/dev/null 2>&1; then # the old set, all of it
                cmp <(lt-shard cat set/train.manifest) <(lt-shard cat old/train.manifest)
                if lt-shard verify set/test.manifest 2>/dev/null; then false; fi
            else
                cmp <(lt-shard cat set/train.manifest) <(lt-shard cat new/train.manifest)
                lt-shard verify set/test.manifest >/dev/null
            fi
            "${replace[@]}" 2>/dev/null
            diff -r set new
        done
        [ "$n" -gt 1 ]
    done
}

@test "shard: two runs on one folder exclude each other" {
    mkfifo pipe
    exec 9<>pipe # opens at once, so that a lt-shard that does not come to read is a failure and no hang
    lt-shard --out set pipe 2>/dev/null 9>&- &
    until [ -d set/lt-shard.unfinished ]; do kill -0 $! && sleep 0.01; done
    run lt-shard --out set "$streams/docs.lts"
    [ "$status" -eq 1 ]
    [[ "$output" == *"set: another lt-shard is writing there"* ]]
    exec 9>&-
    if wait $!; then false; fi
}

@test "shard: --json prints one object on stdout" {
    small --json 2>/dev/null >out
    python=$(command -v python3) || skip "no python3 to read JSON"
    $python -c 'import json, sys; d = json.load(open("out")); assert d["splits"]["val"]["documents"] == 29 and d["tokens"] == 6261'
}

@test "shard: wrong options are usage errors with a sentence" {
    check() { run lt-shard "$@"; [ "$status" -eq 2 ]; [[ "$output" == *"$want"* ]]; }
    want="--out DIR is missing" check "$streams/docs.lts"
    want="add up to 0.8, expected 1" check --out x --split train=0.8 "$streams/docs.lts"
    want="train is named twice" check --out x --split train=0.5,train=0.5 "$streams/docs.lts"
    want='found "Train=1"' check --out x --split Train=1 "$streams/docs.lts"
    want='found "lines"' check --out x --split-by lines "$streams/docs.lts"
    want="did you mean --level" check --out x --levle 3 "$streams/docs.lts"
    want="--level=99" check --out x --level 99 "$streams/docs.lts"
    [ ! -e x ]
}

@test "shard: help, version and man page" {
    lt-shard --help | grep -q "lt-shard --out DIR"
    lt-shard --version | grep -q "^lt-shard "
    lt-shard --man | grep -q "^.TH"
    for c in info verify cat repair manifest; do lt-shard $c --help | grep -q "lt-shard $c"; done
}

# Written by version 0.1.0 from other.lts and wide.lts.  They must stay readable, and what is written
# today must have the same content roots, whatever zstd makes of it.
@test "shard: golden shards of earlier versions" {
    while read -r golden stream; do
        lt-shard verify "$streams/$golden/train.manifest"
        lt-shard cat "$streams/$golden/train.manifest" | cmp - "$streams/$stream.ids"
        lt-shard --out $golden --split train=1 --frame-tokens-log2 6 --shard-tokens 500 \
            "$streams/$stream.lts" 2>/dev/null
        cmp $golden/train.manifest "$streams/$golden/train.manifest"
    done <<<$'golden-u16 other\ngolden-u32 wide'
}

@test "shard: a disk that fills up leaves the old set alone" {
    small 2>/dev/null
    cp -r set before
    run bash -c "trap '' XFSZ; ulimit -f 1; lt-shard --out set --force --split train=1 '$streams/docs.lts'"
    [ "$status" -eq 1 ]
    [[ "$output" == *"set/lt-shard.unfinished/train-00000.lts.zst: write at offset "*": File too large"* ]]
    diff -r set before
}

@test "shard info: table, JSON and entropy" {
    small 2>/dev/null
    lt-shard info set/train.manifest | grep -qE 'tokens +5657$'
    lt-shard info --entropy set/train-00000.lts.zst | grep -qE 'unigram entropy +[0-9.]+ nats'
    lt-shard info --json --entropy set/train.manifest | grep -q '"shards": 3, "tokens": 5657, "documents": 271, .*"eot_id": 0, "bos_id": null, "unigram_entropy_nats": 3.07'
    run lt-shard info "$streams/docs.ids"
    [ "$status" -eq 65 ]
    [[ "$output" == *"docs.ids: truncated or not a shard"* ]]
    run lt-shard info set
    [ "$status" -eq 1 ]
}

@test "shard verify: damage is named with shard, frame and offset, exit 65" {
    small 2>/dev/null
    lt-shard verify set/train.manifest set/val.manifest
    printf '\377' | dd of=set/train-00001.lts.zst bs=1 seek=340 conv=notrunc 2>/dev/null
    run lt-shard verify set/train.manifest
    [ "$status" -eq 65 ]
    [[ "$output" == *"set/train-00001.lts.zst: frame 0 at byte 320 is damaged"* ]]
}

@test "shard verify: a missing, cut or foreign shard" {
    small 2>/dev/null
    truncate -s -1 set/train-00002.lts.zst
    run lt-shard verify set/train.manifest
    [ "$status" -eq 65 ]
    [[ "$output" == *"set/train-00002.lts.zst: truncated or not a shard"* ]]
    cp set/train-00000.lts.zst set/train-00002.lts.zst
    run lt-shard verify set/train.manifest
    [ "$status" -eq 1 ]
    [[ "$output" == *"set/train-00002.lts.zst: not the shard that set/train.manifest means"* ]]
    rm set/train-00002.lts.zst
    run lt-shard verify set/train.manifest
    [ "$status" -eq 1 ]
    [[ "$output" == *"set/train-00002.lts.zst: No such file or directory"* ]]
    sed -i 's/eot_id 0/eot_id 1/' set/val.manifest
    run lt-shard verify set/val.manifest
    [ "$status" -eq 65 ]
    [[ "$output" == *"set/val.manifest: damaged or edited"* ]]
}

@test "shard cat: ranges and documents, across shards" {
    small 2>/dev/null
    lt-shard cat --raw set/train.manifest | od -An -v -tu2 -w2 | tr -d ' ' >all
    lt-shard cat --tokens 1990:2010 set/train.manifest | tr ' ' '\n' | cmp - <(sed -n 1991,2010p all)
    [ "$(lt-shard cat --tokens 5650: set/train.manifest | wc -w)" = 7 ]
    lt-shard cat set/train.manifest >lines
    for n in 0 1 99 270; do
        lt-shard cat --document $n set/train.manifest | cmp - <(sed -n $((n + 1))p lines)
    done
    run lt-shard cat --document 271 set/train.manifest
    [ "$status" -eq 2 ]
    [[ "$output" == *"holds 271 documents, counted from 0"* ]]
    run lt-shard cat --tokens 5:9999 set/train.manifest
    [ "$status" -eq 2 ]
    [[ "$output" == *"expected 0 <= A <= B <= 5657"* ]]
    run lt-shard cat --ids --raw set/train.manifest
    [ "$status" -eq 2 ]
}

@test "shard repair: a shard without its end, then a manifest for what was saved" {
    small 2>/dev/null
    lt-shard cat set/train-00000.lts.zst >whole
    head -c 1500 set/train-00000.lts.zst >set/cut.lts.zst
    run lt-shard repair set/cut.lts.zst -o set/saved.lts.zst
    [ "$status" -eq 0 ]
    [[ "$output" == *"bytes from byte "*" on are lost"* ]]
    lt-shard verify set/saved.lts.zst
    lt-shard cat --raw set/saved.lts.zst >saved
    cmp -n "$(stat -c %s saved)" saved <(lt-shard cat --raw set/train-00000.lts.zst)
    lt-shard manifest set/saved.lts.zst set/train-00001.lts.zst -o set/new.manifest
    lt-shard verify set/new.manifest
    run lt-shard manifest set/saved.lts.zst -o elsewhere/new.manifest
    [ "$status" -eq 2 ]
    [[ "$output" == *"not in the folder of elsewhere/new.manifest"* ]]
    run lt-shard repair "$streams/docs.ids" -o x.lts.zst
    [ "$status" -eq 65 ]
    [ ! -e x.lts.zst ]
}

@test "shard cat: a full disk is an error" {
    small 2>/dev/null
    run bash -c 'lt-shard cat set/train.manifest >/dev/full'
    [ "$status" -eq 1 ]
    [[ "$output" == *"standard output: write: No space left on device"* ]]
}

@test "shard cat --text: the words of the tokenizer" {
    command -v lt-tokenize >/dev/null || skip "lt-tokenize is not built"
    printf '%s\n' "Once upon a time, in a land far away." >story.txt
    lt-tokenize --tokenizer gpt2 story.txt | lt-shard --out story --split train=1 - 2>/dev/null
    lt-shard cat --text story/train.manifest | grep -q "^Once upon a time, in a land far away.$"
}
