/* test_comm.c - what the implementations of lt_comm share: the sum in rank order, and marks. */
#include "comm/call_mark.h"
#include "comm/comm_parts.h"
#include "lt_test.h"

LT_TEST(rank_sum_adds_in_order_and_rounds_once)
{
    enum { M = 3000 }; /* more than one block and a rest */
    static uint16_t parts16[3][M], sum16[M];
    static float parts32[3][M];
    const void *parts[3] = { parts32[0], parts32[1], parts32[2] };

    for (int i = 0; i < M; i++) {
        parts32[0][i] = 1e8f + (float)i;
        parts32[1][i] = -1e8f;
        parts32[2][i] = 0.25f * (float)i;
    }
    lt_rank_sum(parts32[1], LT_F32, parts, 3, M); /* into one of them */
    for (int i = 0; i < M; i++)
        LT_CHECK(parts32[1][i] == (parts32[0][i] + -1e8f) + parts32[2][i]);

    /* 1 + 2^-8 + 2^-8: a rounding in between would lose both */
    for (int r = 0; r < 3; r++) {
        parts[r] = parts16[r];
        for (int i = 0; i < M; i++)
            parts16[r][i] = lt_f32_to_bf16(r == 0 ? 1 : 0x1p-8f);
    }
    lt_rank_sum(sum16, LT_BF16, parts, 3, M);
    for (int i = 0; i < M; i++)
        LT_CHECK(lt_bf16_to_f32(sum16[i]) == 1 + 0x1p-7f);
    for (int r = 0; r < 3; r++)
        for (int i = 0; i < M; i++)
            parts16[r][i] = lt_f32_to_f16(r == 0 ? 1 : 0x1p-11f);
    lt_rank_sum(sum16, LT_F16, parts, 3, M);
    for (int i = 0; i < M; i++)
        LT_CHECK(lt_f16_to_f32(sum16[i]) == 1 + 0x1p-10f);
}

LT_TEST(call_marks_name_who_differs)
{
    char hosts[3][LT_HOST_NAME_BYTES] = { "a", "b", "c" };
    lt_tensor x = lt_vector(NULL, LT_BF16, 640), y = lt_vector(NULL, LT_F32, 64);
    lt_call_mark all[3];

    for (int r = 0; r < 3; r++)
        all[r] = lt_call_mark_of(17, LT_CALL_ALL_GATHER, x, 0);
    LT_CHECK_OK(lt_call_marks_compare(all, hosts, 3));
    all[2] = lt_call_mark_of(17, LT_CALL_REDUCE_SCATTER, y, 0);
    LT_CHECK_FAILS(lt_call_marks_compare(all, hosts, 3), LT_EFAULT,
                   "the ranks call different collectives: rank 2 (c): call 17: reduce_scatter of "
                   "64 fp32; rank 0 (a): call 17: all_gather of 640 bf16");
    LT_CHECK_OK(lt_call_marks_compare(all, hosts, 2));
    for (int r = 0; r < 3; r++)
        all[r] = lt_call_mark_of(18, LT_CALL_BROADCAST, x, r == 1);
    LT_CHECK_FAILS(lt_call_marks_compare(all, hosts, 3), LT_EFAULT,
                   "rank 1 (b): call 18: broadcast of 640 bf16 from rank 1; rank 0 (a): call 18: "
                   "broadcast of 640 bf16 from rank 0");
}
