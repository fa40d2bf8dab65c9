/* watch_wire.c - messages: made, checked, sent, read;
 * the control channel of rank and supervisor. */
#include "comm/watch_wire.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 0x4c545731 }; /* LTW1 */

lt_watch_message lt_watch_message_make(lt_watch_kind kind, uint64_t key, int rank)
{
    lt_watch_message m;

    memset(&m, 0, sizeof m); /* padding too: it goes out */
    m.magic = MAGIC;
    m.kind = kind;
    m.key = key;
    m.rank = rank;
    m.place.state = '?';
    return m;
}

bool lt_watch_message_ok(const lt_watch_message *m, uint64_t key, int world)
{
    if (m->magic != MAGIC || m->key != key || m->kind < 1 || m->kind >= LT_WATCH_N_KINDS)
        return false;
    if (m->rank < 0 || m->rank >= world || m->place.phase >= LT_N_PHASES)
        return false;
    if (!isalpha((unsigned char)m->place.state) && m->place.state != '?')
        return false;
    if (!isfinite(m->place.step_s) || m->place.step_s < 0)
        return false;
    for (size_t i = 0; i < sizeof m->host; i++) {
        if (m->host[i] == '\0')
            return true;
        if (!isgraph((unsigned char)m->host[i]))
            return false;
    }
    return false; /* no end */
}

lt_watch_read lt_watch_line_read(lt_watch_line *line)
{
    ssize_t n;

    while (line->got < sizeof line->in) {
        n = recv(line->fd, (char *)&line->in + line->got, sizeof line->in - line->got,
                 MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return LT_WATCH_READ_NONE;
        if (n <= 0)
            return LT_WATCH_READ_END;
        line->got += (size_t)n;
    }
    line->got = 0;
    return LT_WATCH_READ_ONE;
}

bool lt_watch_line_send(const lt_watch_line *line, const lt_watch_message *m)
{
    ssize_t n;

    do
        n = send(line->fd, m, sizeof *m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    /* A line too full for one message has been silent for minutes: it is as good as gone. */
    return n == (ssize_t)sizeof *m;
}

void lt_watch_line_close(lt_watch_line *line)
{
    if (line->fd >= 0)
        close(line->fd);
    line->fd = -1;
    line->got = 0;
}

/* A packet with room for one descriptor beside it. */
typedef union fd_room {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
} fd_room;

lt_err lt_control_send(int channel, const lt_control *c, int fd)
{
    struct iovec part = { .iov_base = (void *)c, .iov_len = sizeof *c };
    struct msghdr packet = { .msg_iov = &part, .msg_iovlen = 1 };
    fd_room room;
    struct cmsghdr *head;
    ssize_t n;

    memset(&room, 0, sizeof room);
    if (fd >= 0) {
        packet.msg_control = room.bytes;
        packet.msg_controllen = sizeof room.bytes;
        head = CMSG_FIRSTHDR(&packet);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    do
        n = sendmsg(channel, &packet, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? lt_fail(LT_EFAULT, "this rank's supervisor cannot be told: %s", strerror(errno))
                 : LT_OK;
}

bool lt_control_receive(int channel, lt_control *c, int *fd)
{
    struct iovec part = { .iov_base = c, .iov_len = sizeof *c };
    fd_room room;
    struct msghdr packet = { .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = sizeof room.bytes };
    struct cmsghdr *head;

    *fd = -1;
    if (recvmsg(channel, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof *c)
        return false;
    head = CMSG_FIRSTHDR(&packet);
    if (head && head->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(head), sizeof *fd);
    return true;
}
