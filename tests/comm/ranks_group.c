/* ranks_group.c - the control plane on many ranks:
 * who is where, texts of every length, verdicts. */
#include "lt_ranks.h"

#include "base/mem.h"

#include <stdlib.h>

LT_TEST(ranks_know_their_places)
{
    lt_group *g = lt_ranks_group();
    struct place {
        int rank, local_rank, local_world, n_hosts;
        char host[LT_HOST_NAME_BYTES];
    } mine = { g->rank, g->local_rank, g->local_world, g->n_hosts, "" }, all[64];
    int rank, world;

    LT_CHECK(g->world <= 64);
    memcpy(mine.host, g->host, sizeof mine.host);
    LT_CHECK_OK(lt_group_all_gather(g, all, &mine, sizeof mine));
    for (int r = 0; r < g->world; r++) {
        int before = 0, here = 0;

        for (int o = 0; o < g->world; o++) {
            bool same = strcmp(all[o].host, all[r].host) == 0;

            here += same;
            before += same && o < r;
        }
        LT_CHECK_INT(all[r].rank, r);
        LT_CHECK_INT(all[r].local_rank, before);
        LT_CHECK_INT(all[r].local_world, here);
        LT_CHECK_INT(all[r].n_hosts, g->n_hosts);
    }
    LT_CHECK(g->n_hosts >= 1 && g->n_hosts <= g->world);
    LT_CHECK_INT(lt_group_peek(&rank, &world), g->launcher);
    LT_CHECK_INT(rank, g->rank);
    LT_CHECK_INT(world, g->world);
    LT_CHECK_OK(lt_group_barrier(g));
}

/* bytes of a text that only (rank, bytes) decide */
static void fill(lt_buf *text, int rank, size_t bytes)
{
    lt_buf_clear(text);
    lt_buf_reserve(text, bytes);
    for (size_t i = 0; i < bytes; i++)
        text->data[i] = (char)(i * 7 + i / 251 + (size_t)rank * 13);
    text->data[bytes] = '\0';
    text->size = bytes;
}

static bool same(const lt_buf *a, const lt_buf *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0) &&
           a->data[a->size] == '\0';
}

LT_TEST(texts_of_every_length_are_broadcast)
{
    static const size_t lengths[] = { 0, 1, 100, 65537, 3 << 20 };
    lt_group *g = lt_ranks_group();

    for (size_t i = 0; i < LT_COUNT(lengths); i++)
        for (int root = 0; root < g->world; root++) {
            lt_buf text = { 0 }, expected = { 0 };

            fill(&expected, root, lengths[i]);
            fill(&text, g->rank, g->rank == root ? lengths[i] : 17);
            LT_CHECK_OK(lt_group_broadcast(g, &text, root));
            LT_FAIL_IF(!same(&text, &expected), "%zu bytes from rank %d differ", lengths[i], root);
            lt_buf_release(&text);
            lt_buf_release(&expected);
        }
}

LT_TEST(texts_of_different_lengths_are_gathered)
{
    lt_group *g = lt_ranks_group();
    lt_buf mine = { 0 }, expected = { 0 }, *all = lt_new_array0((size_t)g->world, sizeof *all);

    for (int turn = 0; turn < 4; turn++) { /* empty somewhere in each turn, 3 MB somewhere */
        fill(&mine, g->rank, (size_t)((g->rank + turn) % 4) << 20);
        LT_CHECK_OK(lt_group_gather(g, &mine, all));
        for (int r = 0; r < g->world; r++) {
            fill(&expected, r, (size_t)((r + turn) % 4) << 20);
            LT_FAIL_IF(g->rank == 0 && !same(&all[r], &expected), "turn %d: text of rank %d", turn,
                       r);
            LT_CHECK(g->rank == 0 || all[r].data == NULL);
            lt_buf_release(&all[r]);
        }
    }
    lt_buf_release(&mine);
    lt_buf_release(&expected);
    free(all);
}

LT_TEST(one_verdict_for_all)
{
    lt_group *g = lt_ranks_group();
    char expected[256], host[LT_HOST_NAME_BYTES];

    LT_CHECK_OK(lt_group_agree(g, LT_OK));
    memcpy(host, g->host, sizeof host);
    for (int bad = 0; bad < g->world; bad++) {
        lt_err mine = LT_OK;

        if (g->rank >= bad) /* later ranks fail too: the first one's sentence counts */
            mine = lt_fail(g->rank == bad ? LT_EFORMAT : LT_EIO, "trouble of rank %d", g->rank);
        if (g->rank == bad)
            snprintf(expected, sizeof expected, "trouble of rank %d", bad);
        else
            snprintf(expected, sizeof expected, "rank %d (%s): trouble of rank %d", bad, host, bad);
        LT_CHECK_INT(lt_group_agree(g, mine), LT_EFORMAT);
        LT_CHECK(g->n_hosts > 1 || strcmp(lt_err_text(), expected) == 0);
    }
    LT_CHECK_OK(lt_group_agree(g, LT_OK));
}
