/* The MANIFEST: golden text, each broken rule under a correct digest,
 * and the tables for look-up. */
#include "base/hash.h"
#include "ckpt/manifest.h"
#include "lt_test.h"

#include <stdlib.h>

#define HEAD                                                                                       \
    "{\"format\":\"lt-checkpoint\",\"version\":1,\n\"writer\":\"lt 0.1.0\",\"run_id\":\"r\","      \
    "\"attempt\":\"0123456789abcdef\",\"time\":1,\n\"step\":1,\"samples\":2,\"tokens\":3,\n"       \
    "\"world\":2,\"block_bytes\":4194304,\n\"tensors\":[\n"
#define A_OF(shape, layout, trainable)                                                             \
    "{\"name\":\"a\",\"dtype\":\"F32\",\"shape\":" shape ",\"hf_layout\":\"" layout                \
    "\",\"trainable\":" trainable "}"
#define A A_OF("[2,3]", "conv1d", "true")
#define B                                                                                          \
    "{\"name\":\"b\",\"dtype\":\"BF16\",\"shape\":[4],\"hf_layout\":\"linear\",\"trainable\":false}"
#define FILES "],\n\"files\":[\n"
#define F(name, group, rank, size, slices)                                                         \
    "{\"name\":\"" name "\",\"size\":" #size ",\"crc32c\":[\"00000000\"],\"group\":\"" group       \
    "\",\"rank\":" #rank ",\"slices\":[" slices "]}"
#define OTHER "{\"name\":\"x.json\",\"size\":0,\"crc32c\":[]}"
#define END   "],\n"

/* Body + its digest, parsed. */
static lt_err parse(const char *body, lt_manifest **out)
{
    uint8_t digest[LT_SHA256_BYTES];
    char hex[LT_SHA256_HEX];
    lt_buf b = { 0 };
    lt_sha256 sha;
    lt_err err;

    lt_sha256_init(&sha);
    lt_sha256_update(&sha, body, strlen(body));
    lt_sha256_final(&sha, digest);
    lt_sha256_hex(digest, hex);
    lt_buf_printf(&b, "%s\"sha256\":\"%s\"}\n", body, hex);
    err = lt_manifest_parse(out, b.data, b.size, "M");
    lt_buf_release(&b);
    return err;
}

LT_TEST(manifest_pieces_meet_across_ranks)
{
    lt_manifest *m = NULL;
    const lt_manifest_piece *p;
    size_t n;

    LT_CHECK_OK(parse(
        HEAD A
        ",\n" B FILES F("w1", "weights", 1, 64, "[0,\"F32\",4,2,8],[1,\"BF16\",0,4,16]") ",\n" F(
            "w0", "weights", 0, 64,
            "[0,\"F32\",0,4,8]") ",\n" F("m0", "exp_avg", 0, 64,
                                         "[0,\"F32\",0,6,8]") ",\n" OTHER END,
        &m));
    LT_CHECK_INT(m->world, 2);
    LT_CHECK_INT(lt_manifest_tensor(m, "b"), 1);
    LT_CHECK_INT(lt_manifest_tensor(m, "c"), -1);
    LT_CHECK_INT(lt_manifest_file_index(m, "x.json"), 3);
    LT_CHECK(!m->files[3].group && m->tensors[0].layout == LT_HF_CONV1D &&
             !m->tensors[1].trainable);
    p = lt_manifest_pieces(m, "weights", 0, &n);
    LT_CHECK_INT(n, 2);
    LT_CHECK(p[0].file == 1 && p[0].slice.first == 0 && p[1].file == 0 && p[1].slice.first == 4);
    (void)lt_manifest_pieces(m, "exp_avg", 0, &n);
    LT_CHECK_INT(n, 1);
    (void)lt_manifest_pieces(m, "exp_avg", 1, &n);
    LT_CHECK_INT(n, 0);
    lt_manifest_free(m);
}

static const struct {
    const char *body, *part;
} broken[] = {
    { HEAD A FILES END, "weights holds 0 of 1 tensors" },
    { HEAD FILES END, "no tensors" },
    { HEAD A ",\n" A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,8],[1,\"F32\",0,6,8]") END,
      "a stands twice" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,5,8]") END, "up to element 5 of 6" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",1,5,8]") END, "up to element 0 of 6" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,8],[0,\"F32\",0,6,8]") END,
      "hole or overlap" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,8]") "," F(
          "e", "exp_avg", 0, 64, "[0,\"F32\",0,6,8],[0,\"F32\",0,6,8]") END,
      "group exp_avg: tensor a" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,4,8],[0,\"F32\",3,3,8]") END,
      "up to element 4 of 6" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,48]") END, "beyond the file's 64" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,18446744073709551600]") END,
      "beyond the file's 64" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,7,8]") END, "the tensor has 6" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",18446744073709551615,2,8]") END,
      "the tensor has 6" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,0,8]") END, "slice of 0 elements" },
    { HEAD A FILES F("w", "weights", 0, 64, "[1,\"F32\",0,6,8]") END, "tensor number 1 of 1" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F64\",0,6,8]") END,
      "expected dtype F32, BF16 or F16" },
    { HEAD A ",\n" B FILES F("w", "weights", 0, 32, "[0,\"F32\",0,6,8],[1,\"F32\",0,4,8]") END,
      "slices overlap: more bytes than the file's 32" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6]") END, "five members" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,8,9]") END, "five members" },
    { HEAD A FILES F("w", "weights", 2, 64, "[0,\"F32\",0,6,8]") END, "rank 2 of 2" },
    { HEAD A FILES F("w", "Weights", 0, 64, "[0,\"F32\",0,6,8]") END, "not a group name" },
    { HEAD A FILES F("w", "weights", 0, 4194305, "[0,\"F32\",0,6,8]") END,
      "1 sums for 4194305 bytes, expected 2" },
    { HEAD A FILES F("w", "weights", 0, 64, "[0,\"F32\",0,6,8]") "," F("w", "exp_avg", 0, 64, "")
          END,
      "file w stands twice" },
    { HEAD A FILES F("../w", "weights", 0, 64, "[0,\"F32\",0,6,8]") END, "not a plain file name" },
    { HEAD A FILES F(".w", "weights", 0, 64, "[0,\"F32\",0,6,8]") END, "not a plain file name" },
    { HEAD A FILES F("MANIFEST", "weights", 0, 64, "[0,\"F32\",0,6,8]") END,
      "not a plain file name" },
    { HEAD A_OF("[0]", "linear", "true") FILES END, "a zero-sized shape" },
    { HEAD A_OF("[4294967296,4294967296]", "linear", "true") FILES END, "an overflowing shape" },
    { HEAD A_OF("[1,1,1]", "linear", "true") FILES END, "one or two dimensions" },
    { HEAD A_OF("[]", "linear", "true") FILES END, "no shape" },
    { HEAD A_OF("[1]", "other", "true") FILES END, "expected hf_layout" },
    { HEAD A_OF("[1]", "linear", "1") FILES END, "expected true or false" },
    { HEAD "{\"name\":\"a\"}" FILES END, "a tensor lacks a member" },
    { HEAD A FILES "{\"name\":\"w\",\"size\":1}" END, "a file lacks a member" },
    { HEAD A FILES "{\"name\":\"w\",\"size\":1,\"crc32c\":[\"1\"]}" END, "8 hex digits" },
    { "{\"format\":\"x\",", "expected format lt-checkpoint" },
    { "{\"format\":\"lt-checkpoint\",\"block_bytes\":4096,", "block_bytes 4096 is not known" },
    { "{\"format\":\"lt-checkpoint\",\"format\":\"lt-checkpoint\",", "\"format\" stands twice" },
    { "{\"colour\":1,", "unknown member" },
    { "{\"format\":\"lt-checkpoint\",", "a member is missing" },
    { "[", "expected '{'" },
};

LT_TEST(manifest_refuses_each_broken_rule)
{
    for (size_t i = 0; i < LT_COUNT(broken); i++) {
        lt_manifest *m = NULL;

        LT_CHECK_FAILS(parse(broken[i].body, &m), LT_EFORMAT, broken[i].part);
    }
}

LT_TEST(manifest_of_another_version_is_not_called_damaged)
{
    lt_manifest *m = NULL;

    LT_CHECK_FAILS(parse("{\"format\":\"lt-checkpoint\",\"version\":2,\"new\":1,", &m), LT_ENOTSUP,
                   "version 2 is not known, expected 1");
}

LT_TEST(manifest_digest_covers_every_byte)
{
    const lt_ckpt_tensor t = { "a", LT_F32, 1, { 2, 0 }, LT_HF_LINEAR, true };
    lt_manifest_slice s = { 0, LT_F32, 0, 2, 16 };
    uint32_t crc = 0x12345678;
    char name[] = "w-00000.safetensors", group[] = "weights";
    lt_manifest_file f = { .name = name,
                           .group = group,
                           .size = 24,
                           .crc = &crc,
                           .n_blocks = 1,
                           .slices = &s,
                           .n_slices = 1 };
    const lt_ckpt_step step = { 1, 2, 3, "run \"quoted\"" };
    const lt_manifest_head head = {
        .step = &step, .attempt = "00000000000000ff", .world = 1, .tensors = &t, .n_tensors = 1
    };
    lt_buf part = { 0 }, text = { 0 };
    const char *parts[2] = { "", NULL };
    lt_manifest *m = NULL;

    lt_manifest_add_file(&part, &f);
    parts[1] = part.data;
    lt_manifest_write(&text, &head, parts, 2);
    LT_CHECK_OK(lt_manifest_parse(&m, text.data, text.size, "M"));
    LT_CHECK_STR(m->step.run_id, "run \"quoted\"");
    LT_CHECK_INT(m->files[0].crc[0], 0x12345678);
    lt_manifest_free(m);
    for (size_t i = 0; i < text.size; i++) {
        text.data[i] ^= 4;
        LT_CHECK_FAILS(lt_manifest_parse(&m, text.data, text.size, "M"), LT_EFORMAT, "M: ");
        text.data[i] ^= 4;
        LT_CHECK_FAILS(lt_manifest_parse(&m, text.data, i, "M"), LT_EFORMAT, "M: ");
    }
    lt_buf_release(&part);
    lt_buf_release(&text);
}
