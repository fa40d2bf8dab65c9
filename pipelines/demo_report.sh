#!/bin/sh
# demo_report.sh OUT LT_SHARD - what came out of `make demo`, measured from its files.
#
# The loss of a model that knew only how often each token occurs is the unigram entropy of the
# validation text; a trained model has to be below it.
set -eu
export LC_ALL=C # numbers with a point
out=$1 shard=$2
known=$(mktemp)
trap 'rm -f "$known"' EXIT

# The last value of a key in JSON on stdin.
last_number() {
    tr ',' '\n' | sed -n "s/.*\"$1\": *\\([-0-9.e+]*\\).*/\\1/p" | tail -n 1
}
# One lower-case word a line, punctuation dropped.
words() {
    tr 'A-Z' 'a-z' | tr -cs "a-z'" '\n' | grep .
}
entropy=$("$shard" info --entropy --json "$out/data/val.manifest" | last_number unigram_entropy_nats)
loss=$(last_number val_loss <"$out/logs/metrics.jsonl")
sed 's/.*"text":"//; s/\\n/ /g' "$out/corpus.jsonl" | words | sort -u >"$known"
share=$(words <"$out/sample.txt" | awk -v corpus="$known" '
    BEGIN { while ((getline word < corpus) > 0) known[word] = 1 }
    { n++; hit += $0 in known }
    END { printf "%.1f%% of %d", 100 * hit / (n ? n : 1), n }')

echo
cat "$out/sample.txt"
cat <<END

unigram entropy of the validation text   $entropy nats per token
validation loss of the trained model     $(printf %.6f "$loss") nats per token
words of the sample found in the corpus  $share

sample        $out/sample.txt
loss curve    $out/logs/loss.svg
metrics       $out/logs/metrics.jsonl; TensorBoard reads $out/logs
checkpoint    $(cat "$out/last-checkpoint")
merged model  $out/model
END
