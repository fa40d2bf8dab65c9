/* comm/watch_wire.h - what ranks, supervisors and hub say to each other; private to the watch.
 *
 *     rank ──memory page, control channel──▶ supervisor ──TCP──▶ hub (in rank 0's supervisor)
 *
 * A job is one binary, so messages are plain structs of one size.  What comes from the network is
 * checked by lt_watch_message_ok before anything reads it; the key, drawn by rank 0 and handed out
 * over the group, keeps strangers and hubs of other jobs apart. */
#ifndef LT_COMM_WATCH_WIRE_H
#define LT_COMM_WATCH_WIRE_H

#include "comm/watch.h"

#include <stdatomic.h>
#include <sys/types.h>

enum {
    LT_WATCH_STEP_TIMES = 15,
    LT_WATCH_SLOW_FACTOR = 10, /* times hang_timeout, for what takes longer than a step */
};
#define LT_WATCH_BEAT_S   0.2 /* each side speaks this often, at its next tick */
#define LT_WATCH_SILENT_S 8.0 /* and is given up after this long */

/* Written by the rank, read by its supervisor at any moment, also after the rank's death. */
typedef struct lt_watch_page {
    _Atomic uint64_t step, beats, collectives;
    _Atomic uint64_t n_steps;                      /* done by this process */
    _Atomic uint64_t step_ns[LT_WATCH_STEP_TIMES]; /* the last of them, a ring */
    _Atomic uint32_t phase;
} lt_watch_page;

/* Where a rank is. */
typedef struct lt_watch_place {
    uint64_t step, beats, collectives, n_steps;
    double step_s; /* median, 0 before the first */
    uint32_t phase;
    char state; /* as /proc/PID/stat has it: T is stopped, D waits for a device */
} lt_watch_place;

typedef enum lt_watch_kind {
    LT_WATCH_HELLO = 1, /* member to hub: rank, pid, host */
    LT_WATCH_WELCOME,   /* hub to member: the key was right; rank 0's pid, host */
    LT_WATCH_BEAT,      /* both ways: from members their place, from the hub that of rank 0 */
    LT_WATCH_DIED,      /* the rank ended before its time, with this wait status */
    LT_WATCH_LEFT,      /* the rank ends in good order */
    LT_WATCH_STOP,      /* hub to members: end your rank, and yourself with this exit status */
    LT_WATCH_N_KINDS
} lt_watch_kind;

typedef struct lt_watch_message {
    uint32_t magic, kind;
    uint64_t key;
    int32_t rank, pid, status;
    char host[LT_WATCH_HOST_BYTES];
    lt_watch_place place;
} lt_watch_message;

/* A stream of messages over one socket that never blocks; {.fd = -1} is none. */
typedef struct lt_watch_line {
    int fd;
    size_t got;
    lt_watch_message in;
} lt_watch_line;

/* Fills what every message has. */
lt_watch_message lt_watch_message_make(lt_watch_kind kind, uint64_t key, int rank);
/* Is it of our make, with this key, and every field in its range? */
bool lt_watch_message_ok(const lt_watch_message *m, uint64_t key, int world);

typedef enum lt_watch_read {
    LT_WATCH_READ_NONE,
    LT_WATCH_READ_ONE,
    LT_WATCH_READ_END
} lt_watch_read;
/* One message into line->in, if it is there in full; END when the other side is gone. */
lt_watch_read lt_watch_line_read(lt_watch_line *line);
bool lt_watch_line_send(const lt_watch_line *line, const lt_watch_message *m); /* false: gone */
void lt_watch_line_close(lt_watch_line *line);

/* From the rank to its supervisor, over a SOCK_SEQPACKET pair; HUB and JOIN carry a socket. */
typedef enum lt_control_kind {
    LT_CONTROL_MEET,
    LT_CONTROL_HUB,
    LT_CONTROL_JOIN,
    LT_CONTROL_LEAVE
} lt_control_kind;
typedef struct lt_control {
    lt_control_kind kind;
    lt_watch_rank me;
    char hub_host[LT_WATCH_HOST_BYTES];
    int hub_pid; /* of rank 0 */
    uint64_t key;
    double hang_timeout;
} lt_control;
lt_err lt_control_send(int channel, const lt_control *c, int fd); /* fd -1: none */
bool lt_control_receive(int channel, lt_control *c, int *fd);     /* false: nothing there */

/* "KEY@ADDRESS,ADDRESS,...:PORT" for a socket that listens on all of this host's addresses. */
LT_MUST_USE lt_err lt_watch_listen(int *fd, uint64_t *key, lt_buf *address);
/* A socket whose other end welcomed `hello`, whose key is set.  Tries each address in turn. */
LT_MUST_USE lt_err lt_watch_connect(int *fd, const char *address, lt_watch_message *hello,
                                    lt_watch_message *welcome);

struct lt_watch {
    lt_watch_page *page;
    int channel;         /* to the supervisor */
    uint64_t step_began; /* nanoseconds; of the thread that tells steps */
};

#endif
