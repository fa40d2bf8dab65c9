# chapters.awk - `bible -f` to JSON lines: a verse is "Ge1:1 In the beginning ...", a document is a
# chapter with a verse a line.  Fails when verses are missing, so a broken dump never trains a model.
function flush_chapter()
{
    if (text != "")
        printf "{\"chapter\":\"%s\",\"text\":\"%s\"}\n", chapter, text
    text = ""
}
match($0, /^[0-9]*[A-Za-z]+[0-9]+:[0-9]+ /) {
    place = substr($0, 1, RLENGTH - 1)
    sub(/:.*/, "", place)
    if (place != chapter)
        flush_chapter()
    chapter = place
    verse = substr($0, RLENGTH + 1)
    gsub(/[\\"]/, "\\\\&", verse)
    text = text (text == "" ? "" : "\\n") verse
    n++
}
END {
    flush_chapter()
    if (n != 31102) {
        printf "chapters.awk: expected 31102 verses from bible -f, found %d\n", n >"/dev/stderr"
        exit 1
    }
}
