/* fuzz_watch_hub.c - what comes over the network to the hub of a job of three ranks.
 *
 * The input is a list of deeds {what, n, n bytes}: what's low two bits choose one of four
 * connections, which sends the n bytes as they are, or, with OURS, as a message of our make with
 * the key.  Who has no key must not get in, nor end the job. */
#include "base/log.h"
#include "comm/watch_hub.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORLD = 3, N_LINES = 4, OURS = 4, WAIT = 8, HANG_UP = 16 };

static const uint64_t key = 0x6b65792d6b65792d;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A name of its own that the kernel chooses, and that leaves no file. */
static int open_listener(struct sockaddr_storage *address, socklen_t *n)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *address = (struct sockaddr_storage){ .ss_family = AF_UNIX };
    *n = sizeof *address;
    LT_BUG_ON(fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) != 0 ||
              listen(fd, N_LINES) != 0 || getsockname(fd, (struct sockaddr *)address, n) != 0);
    return fd;
}

/* Answers are not read; a connection that the hub has closed stays closed. */
static void put(lt_watch_line *line, bool ours, const uint8_t *bytes, size_t n)
{
    lt_watch_message m = lt_watch_message_make(LT_WATCH_BEAT, key, 0);
    uint32_t magic = m.magic;

    if (ours) {
        memcpy(&m, bytes, n < sizeof m ? n : sizeof m);
        m.magic = magic;
        m.key = key;
        lt_watch_line_send(line, &m);
    } else {
        (void)!send(line->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lt_watch_line lines[N_LINES];
    struct sockaddr_storage address;
    socklen_t address_bytes;
    lt_watch_hub *hub = NULL;
    int listener = open_listener(&address, &address_bytes);
    bool any_ours = false;
    double now = 1;

    lt_log_init("fuzz", LT_LOG_QUIET);
    LT_BUG_ON(lt_watch_hub_open(&hub, listener, key, WORLD, 1, now) != LT_OK);
    lt_watch_hub_set_timeout(hub, 5);
    for (int i = 0; i < N_LINES; i++) {
        lines[i] = (lt_watch_line){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        LT_BUG_ON(lines[i].fd < 0 ||
                  connect(lines[i].fd, (struct sockaddr *)&address, address_bytes) != 0);
    }
    for (size_t at = 0; at + 2 <= size;) {
        uint8_t what = data[at];
        size_t left = size - at - 2, n = data[at + 1] < left ? data[at + 1] : left;
        lt_watch_line *line = &lines[what % N_LINES];

        if (line->fd >= 0)
            put(line, what & OURS, data + at + 2, n);
        if (what & HANG_UP)
            lt_watch_line_close(line);
        any_ours = any_ours || what & OURS;
        now += what & WAIT ? 1 : 0.1;
        at += 2 + n;
        lt_watch_hub_work(hub, now);
        LT_BUG_ON(!any_ours && (!lt_watch_hub_done(hub, now) || lt_watch_hub_cut_off(hub)));
    }
    lt_watch_hub_stop(hub, 1, now);
    LT_BUG_ON(!lt_watch_hub_done(hub, now + 60));
    for (int i = 0; i < N_LINES; i++)
        lt_watch_line_close(&lines[i]);
    lt_watch_hub_close(hub);
    return 0;
}
