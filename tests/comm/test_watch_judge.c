/* test_watch_judge.c - verdicts and their sentences, by the clock of the test. */
#include "lt_test.h"
#include "comm/watch_judge.h"

#include <signal.h>
#include <stdlib.h>

enum { WORLD = 3 };

/* Three ranks at step 41 of 1 s steps, all heard of and moving at second 100. */
static void set_up(lt_watch_member *m)
{
    for (int i = 0; i < WORLD; i++) {
        m[i] = (lt_watch_member){ .joined = true, .pid = 100 + i, .heard = 100, .moved = 100 };
        m[i].place = (lt_watch_place){ .step = 41, .n_steps = 20, .step_s = 1, .state = 'R' };
        m[i].place.phase = LT_PHASE_BACKWARD;
        snprintf(m[i].host, sizeof m[i].host, "node%d", i);
    }
}

static void hear_all(lt_watch_member *m, double now)
{
    for (int i = 0; i < WORLD; i++)
        m[i].heard = now;
}

static int judge(const lt_watch_member *m, double now, const char **said)
{
    static lt_buf why;
    int status;

    lt_buf_clear(&why);
    status = lt_watch_judge(m, WORLD, 30, now, &why);
    *said = lt_buf_cstr(&why);
    return status;
}

LT_TEST(watch_judge_is_quiet_while_all_move)
{
    lt_watch_member m[WORLD];
    const char *said;

    set_up(m);
    hear_all(m, 125);
    LT_CHECK_INT(judge(m, 130, &said), 0);
    LT_CHECK_STR(said, "");
}

LT_TEST(watch_judge_names_the_signal_of_a_dead_rank)
{
    lt_watch_member m[WORLD];
    const char *said;

    set_up(m);
    m[0].closed = true; /* seen first, but only a consequence */
    m[0].heard = 50;
    m[2].died = true;
    m[2].status = SIGKILL;
    m[2].place.collectives = 812;
    LT_CHECK_INT(judge(m, 101, &said), 1);
    LT_CHECK_STR(said, "rank 2 (node2, pid 102) died: signal 9 (Killed); last step 41, phase "
                       "backward, collective 812");
}

LT_TEST(watch_judge_hands_on_the_status_of_a_rank_that_gave_up)
{
    static const int expected[][2] = { { 65, 65 }, { 2, 2 }, { 1, 1 }, { 75, 1 }, { 0, 1 } };
    lt_watch_member m[WORLD];
    const char *said;

    for (size_t i = 0; i < LT_COUNT(expected); i++) {
        set_up(m);
        m[1].died = true;
        m[1].status = expected[i][0] << 8;
        LT_CHECK_INT(judge(m, 101, &said), expected[i][1]);
        LT_CHECK(strstr(said, "rank 1 (node1, pid 101) ended with status "));
    }
}

LT_TEST(watch_judge_takes_eight_seconds_of_silence)
{
    lt_watch_member m[WORLD];
    const char *said;

    set_up(m);
    hear_all(m, 109);
    m[1].heard = 101;
    m[0].place.phase = LT_PHASE_REDUCE;
    LT_CHECK_INT(judge(m, 108.9, &said), 0);
    LT_CHECK_INT(judge(m, 109.5, &said), 1);
    LT_CHECK_STR(said,
                 "lost contact with rank 1 (node1, pid 101): not heard of for 8 s; last heard "
                 "at step 41, phase backward; rank 0 (node0, pid 100) is at step 41, phase "
                 "reduce");
}

LT_TEST(watch_judge_waits_half_a_second_after_a_line_has_closed)
{
    lt_watch_member m[WORLD];
    const char *said;

    set_up(m);
    m[1].closed = true;
    LT_CHECK_INT(judge(m, 100.4, &said), 0);
    LT_CHECK_INT(judge(m, 100.6, &said), 1);
    LT_CHECK(strstr(said, "lost contact with rank 1 (node1, pid 101): its supervisor is gone"));
    m[1].left = true;
    LT_CHECK_INT(judge(m, 100.6, &said), 0);
}

LT_TEST(watch_judge_gives_a_hang_its_time)
{
    lt_watch_member m[WORLD];
    const char *said;

    set_up(m);
    m[1].place.step = 40;
    hear_all(m, 401);
    LT_CHECK_INT(judge(m, 129, &said), 0);
    LT_CHECK_INT(judge(m, 130.5, &said), 1);
    LT_CHECK_STR(said,
                 "rank 1 (node1, pid 101) hangs: no rank has moved for 30 s; it is at step 40, "
                 "phase backward; rank 0 is at step 41, phase backward");
    m[2].place.step_s = 7; /* ten of the slowest rank's steps */
    LT_CHECK_INT(judge(m, 169, &said), 0);
    LT_CHECK_INT(judge(m, 171, &said), 1);
    m[0].place.phase = LT_PHASE_SAVE; /* a long phase */
    LT_CHECK_INT(judge(m, 399, &said), 0);
    LT_CHECK_INT(judge(m, 401, &said), 1);
    m[0].place.phase = LT_PHASE_DATA;
    m[0].place.n_steps = 2; /* the first steps */
    LT_CHECK_INT(judge(m, 399, &said), 0);
    m[0].left = true; /* who has left says nothing about the rest */
    LT_CHECK_INT(judge(m, 399, &said), 1);
}

LT_TEST(watch_judge_never_calls_it_a_hang_with_timeout_0)
{
    lt_watch_member m[WORLD];
    lt_buf why = { 0 };

    set_up(m);
    hear_all(m, 1e6);
    LT_CHECK_INT(lt_watch_judge(m, WORLD, 0, 1e6, &why), 0);
}

LT_TEST(watch_judge_finds_the_rank_that_holds_the_others_up)
{
    lt_watch_member m[WORLD];
    const char *said;

    set_up(m);
    hear_all(m, 500);
    m[2].place.phase = LT_PHASE_FORWARD;
    LT_CHECK_INT(judge(m, 500, &said), 1);
    LT_CHECK(strstr(said, "rank 2 (node2, pid 102) hangs"));
    for (int i = 0; i < WORLD; i++)
        m[i].place.collectives = 9;
    m[1].place.collectives = 8;
    judge(m, 500, &said);
    LT_CHECK(strstr(said, "rank 1 (node1, pid 101) hangs"));
    m[0].place.state = 'T';
    judge(m, 500, &said);
    LT_CHECK(strstr(said, "rank 0 (node0, pid 100) hangs"));
    LT_CHECK(strstr(said, ", stopped by a signal; rank 2 is at step 41, phase forward"));
    m[2].joined = false;
    judge(m, 500, &said);
    LT_CHECK_STR(said, "rank 2 never joined the others, which have waited for 400 s");
}

LT_TEST(watch_messages_from_strangers_are_refused)
{
    lt_watch_message good = lt_watch_message_make(LT_WATCH_BEAT, 7, 2), m;

    LT_CHECK(lt_watch_message_ok(&good, 7, 3));
    LT_CHECK(!lt_watch_message_ok(&good, 8, 3));
    LT_CHECK(!lt_watch_message_ok(&good, 7, 2));
#define SPOILT(change) (m = good, m.change, !lt_watch_message_ok(&m, 7, 3))
    LT_CHECK(SPOILT(magic = 0));
    LT_CHECK(SPOILT(kind = 0));
    LT_CHECK(SPOILT(kind = LT_WATCH_N_KINDS));
    LT_CHECK(SPOILT(rank = -1));
    LT_CHECK(SPOILT(place.phase = LT_N_PHASES));
    LT_CHECK(SPOILT(place.state = '\n'));
    LT_CHECK(SPOILT(place.step_s = -1));
    LT_CHECK(SPOILT(place.step_s = __builtin_nan("")));
    LT_CHECK(SPOILT(host[0] = '\n'));
    m = good;
    memset(m.host, 'a', sizeof m.host); /* no end */
    LT_CHECK(!lt_watch_message_ok(&m, 7, 3));
}
