/* test_watch_hub.c - who is let in: members with the key;
 * strangers, noise and second comers are not. */
#include "lt_test.h"
#include "base/clock.h"
#include "comm/watch_hub.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORLD = 2, FIRST_PID = 4711 };

typedef struct hub_thread {
    lt_watch_hub *hub;
    uint64_t key;
    lt_buf address;
    pthread_t thread;
    _Atomic bool stop;
} hub_thread;

static void *work(void *arg)
{
    hub_thread *t = arg;

    while (!t->stop) {
        lt_watch_hub_work(t->hub, lt_now());
        usleep(1000);
    }
    return NULL;
}

static lt_err start(hub_thread *t)
{
    int fd = -1;
    lt_err err;

    *t = (hub_thread){ 0 };
    LT_TRY(err = lt_watch_listen(&fd, &t->key, &t->address));
    LT_TRY(err = lt_watch_hub_open(&t->hub, fd, t->key, WORLD, FIRST_PID, lt_now()));
    LT_BUG_ON(pthread_create(&t->thread, NULL, work, t) != 0);
fail:
    return err;
}

static void end(hub_thread *t)
{
    t->stop = true;
    pthread_join(t->thread, NULL);
    lt_watch_hub_close(t->hub);
    lt_buf_release(&t->address);
}

static lt_err connect_as(const hub_thread *t, int rank, int *fd)
{
    lt_watch_message hello = lt_watch_message_make(LT_WATCH_HELLO, 0, rank), welcome;
    lt_err err = lt_watch_connect(fd, t->address.data, &hello, &welcome);

    if (err == LT_OK)
        LT_BUG_ON(fcntl(*fd, F_SETFL, 0) != 0); /* recv below is to wait */
    return err;
}

LT_TEST(watch_hub_welcomes_a_member_once)
{
    hub_thread t;
    int first = -1, second = -1;

    LT_CHECK_OK(start(&t));
    LT_CHECK_OK(connect_as(&t, 1, &first));
    LT_CHECK_FAILS(connect_as(&t, 1, &second), LT_EFAULT, "rank 1 cannot reach the supervisor of");
    LT_CHECK_FAILS(connect_as(&t, WORLD, &second), LT_EFAULT, "the hosts of a job need TCP");
    close(first);
    end(&t);
}

LT_TEST(watch_hub_refuses_a_wrong_key_and_noise)
{
    lt_watch_message welcome;
    char noise[2 * sizeof welcome];
    hub_thread t;
    int fd = -1;
    char digit;

    LT_CHECK_OK(start(&t));
    digit = t.address.data[0];
    t.address.data[0] = t.address.data[0] == '0' ? '1' : '0';
    LT_CHECK_FAILS(connect_as(&t, 1, &fd), LT_EFAULT, "cannot reach");
    t.address.data[0] = digit;

    /* a member that turns to noise: both its line and its rank are lost, the hub goes on */
    LT_CHECK_OK(connect_as(&t, 1, &fd));
    memset(noise, 0x5a, sizeof noise);
    LT_CHECK(send(fd, noise, sizeof noise, MSG_NOSIGNAL) == (ssize_t)sizeof noise);
    while (recv(fd, &welcome, sizeof welcome, 0) > 0) { /* beats that were under way */
    }
    close(fd);
    LT_CHECK_OK(connect_as(&t, 0, &fd));
    close(fd);
    end(&t);
}

LT_TEST(watch_hub_is_closed_to_all_when_its_members_are_there)
{
    int members[WORLD] = { -1, -1 }, stranger = -1;
    hub_thread t;

    LT_CHECK_OK(start(&t));
    for (int r = 0; r < WORLD; r++)
        LT_CHECK_OK(connect_as(&t, r, &members[r]));
    LT_CHECK_FAILS(connect_as(&t, 1, &stranger), LT_EFAULT, "Connection refused");
    for (int r = 0; r < WORLD; r++)
        close(members[r]);
    end(&t);
}

LT_TEST(watch_hub_hangs_up_on_a_member_that_speaks_for_another)
{
    lt_watch_message forged, beat;
    hub_thread t;
    int fd = -1, n_beats = 0;

    LT_CHECK_OK(start(&t));
    LT_CHECK_OK(connect_as(&t, 0, &fd));
    forged = lt_watch_message_make(LT_WATCH_LEFT, t.key, 1);
    LT_CHECK(send(fd, &forged, sizeof forged, MSG_NOSIGNAL) == (ssize_t)sizeof forged);
    while (recv(fd, &beat, sizeof beat, 0) > 0 && n_beats < 25) /* that were under way */
        n_beats++;
    close(fd);
    end(&t);
    LT_CHECK(n_beats < 25);
}

/* Whoever connects and says nothing takes a place for a few seconds only. */
LT_TEST(watch_hub_does_not_keep_silent_guests)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int listener = -1, fd = socket(AF_INET, SOCK_STREAM, 0);
    const double now = 100;
    lt_buf address = { 0 };
    lt_watch_hub *hub = NULL;
    uint64_t key;
    ssize_t early, late;
    char byte;

    LT_CHECK_OK(lt_watch_listen(&listener, &key, &address));
    to.sin_port = htons((uint16_t)strtol(strrchr(address.data, ':') + 1, NULL, 10));
    lt_buf_release(&address);
    LT_CHECK_OK(lt_watch_hub_open(&hub, listener, key, WORLD, FIRST_PID, now));
    LT_CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    lt_watch_hub_work(hub, now);
    lt_watch_hub_work(hub, now + LT_WATCH_SILENT_S - 1);
    early = recv(fd, &byte, 1, MSG_DONTWAIT);
    lt_watch_hub_work(hub, now + LT_WATCH_SILENT_S + 1);
    late = recv(fd, &byte, 1, MSG_DONTWAIT);
    lt_watch_hub_close(hub);
    close(fd);
    LT_CHECK_INT(early, -1); /* nothing there */
    LT_CHECK_INT(late, 0);   /* the end */
}

LT_TEST(watch_hub_tells_its_members_where_rank_0_is)
{
    lt_watch_message hello = lt_watch_message_make(LT_WATCH_HELLO, 0, 1), welcome, beat;
    lt_watch_line line = { .fd = -1 };
    lt_watch_read got;
    hub_thread t;
    int first = -1;

    LT_CHECK_OK(start(&t));
    LT_CHECK_OK(connect_as(&t, 0, &first));
    LT_CHECK_OK(lt_watch_connect(&line.fd, t.address.data, &hello, &welcome));
    beat = lt_watch_message_make(LT_WATCH_BEAT, t.key, 0);
    beat.place.step = 41;
    beat.place.phase = LT_PHASE_REDUCE;
    LT_CHECK(send(first, &beat, sizeof beat, MSG_NOSIGNAL) == (ssize_t)sizeof beat);
    while ((got = lt_watch_line_read(&line)) == LT_WATCH_READ_NONE ||
           (got == LT_WATCH_READ_ONE && line.in.place.step == 0)) /* was under way */
        usleep(1000);
    close(first);
    close(line.fd);
    end(&t);
    LT_CHECK_INT(welcome.pid, FIRST_PID);
    LT_CHECK_INT(got, LT_WATCH_READ_ONE);
    LT_CHECK_INT(line.in.kind, LT_WATCH_BEAT);
    LT_CHECK_INT((int)line.in.place.step, 41);
    LT_CHECK_INT((int)line.in.place.phase, LT_PHASE_REDUCE);
}

LT_TEST(watch_connect_wants_an_address_of_a_hub)
{
    lt_watch_message hello = lt_watch_message_make(LT_WATCH_HELLO, 0, 0), welcome;
    int fd = -1;

    LT_CHECK_FAILS(lt_watch_connect(&fd, "nonsense", &hello, &welcome), LT_EFAULT,
                   "\"nonsense\" is no address of a hub");
    LT_CHECK_FAILS(lt_watch_connect(&fd, "00@127.0.0.1:1", &hello, &welcome), LT_EFAULT,
                   "rank 0 cannot reach the supervisor of rank 0 at 127.0.0.1, port 1: Connection "
                   "refused");
    LT_CHECK_FAILS(lt_watch_connect(&fd, "00@node7,:65536", &hello, &welcome), LT_EFAULT,
                   "at node7,, port 65536");
}
