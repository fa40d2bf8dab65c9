/* watch_net.c - where the hub listens, and how a member finds it.
 *
 * Host names are not trusted to resolve from elsewhere: the hub hands out the numbers of all its
 * interfaces, the member tries them in turn, and the key tells the right one. */
#include "comm/watch_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 3000, WELCOME_MS = 10000, N_WAITING = 4096 };

/* All addresses of this host, IPv6 where the kernel has it. */
static int open_listener(uint16_t *port)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY) };
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)) == 0 &&
              bind(fd, (struct sockaddr *)&six, sizeof six) == 0;

    if (!ok) {
        if (fd >= 0)
            close(fd);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ok = fd >= 0 && bind(fd, (struct sockaddr *)&four, sizeof four) == 0;
    }
    if (ok && listen(fd, N_WAITING) == 0 && getsockname(fd, (struct sockaddr *)&bound, &n) == 0) {
        *port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool usable(const struct ifaddrs *i, sa_family_t family)
{
    if (!i->ifa_addr || i->ifa_addr->sa_family != family || !(i->ifa_flags & IFF_UP) ||
        (i->ifa_flags & IFF_LOOPBACK))
        return false;
    return family == AF_INET ||
           !IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr);
}

static void list_addresses(lt_buf *out, const struct ifaddrs *all, sa_family_t family)
{
    size_t bytes = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    char text[INET6_ADDRSTRLEN];

    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (usable(i, family) && getnameinfo(i->ifa_addr, (socklen_t)bytes, text, sizeof text, NULL,
                                             0, NI_NUMERICHOST) == 0)
            lt_buf_printf(out, "%s,", text);
}

lt_err lt_watch_listen(int *fd, uint64_t *key, lt_buf *address)
{
    struct ifaddrs *all = NULL;
    uint16_t port = 0;
    int listener;

    if (getrandom(key, sizeof *key, 0) != (ssize_t)sizeof *key)
        return lt_fail(LT_EFAULT, "no random numbers: %s", strerror(errno));
    listener = open_listener(&port);
    if (listener < 0)
        return lt_fail(LT_EFAULT, "rank 0 cannot listen for the other ranks' supervisors: %s",
                       strerror(errno));
    lt_buf_printf(address, "%016" PRIx64 "@", *key);
    if (getifaddrs(&all) == 0) {
        list_addresses(address, all, AF_INET);
        list_addresses(address, all, AF_INET6);
        freeifaddrs(all);
    }
    lt_buf_printf(address, "127.0.0.1:%u", (unsigned)port);
    *fd = listener;
    return LT_OK;
}

static bool wait_for(int fd, short events, int ms)
{
    struct pollfd p = { .fd = fd, .events = events };
    int n;

    do
        n = poll(&p, 1, ms);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        errno = ETIMEDOUT;
    return n > 0;
}

/* A connected socket, or -1 with errno. */
static int connect_to(const struct addrinfo *to)
{
    int failure = 0;
    socklen_t n = sizeof failure;
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
        failure = errno;
        if (failure == EINPROGRESS && wait_for(fd, POLLOUT, CONNECT_MS))
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &n);
        else if (failure == EINPROGRESS)
            failure = errno;
    }
    if (failure != 0) {
        close(fd);
        errno = failure;
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    return fd;
}

/* Says hello and waits for the welcome: a stranger at that address gives none. */
static bool greet(int fd, const lt_watch_message *hello, lt_watch_message *welcome)
{
    lt_watch_line line = { .fd = fd };
    lt_watch_read got;

    if (!lt_watch_line_send(&line, hello))
        return false;
    do {
        if (!wait_for(fd, POLLIN, WELCOME_MS))
            return false;
        got = lt_watch_line_read(&line);
    } while (got == LT_WATCH_READ_NONE);
    errno = ECONNREFUSED;
    *welcome = line.in;
    return got == LT_WATCH_READ_ONE && line.in.kind == LT_WATCH_WELCOME &&
           lt_watch_message_ok(&line.in, hello->key, 1);
}

static int try_address(const char *name, const char *port, const lt_watch_message *hello,
                       lt_watch_message *welcome)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    int fd, why;

    if (getaddrinfo(name, port, &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    fd = connect_to(found);
    freeaddrinfo(found);
    if (fd >= 0 && !greet(fd, hello, welcome)) {
        why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

lt_err lt_watch_connect(int *fd, const char *address, lt_watch_message *hello,
                        lt_watch_message *welcome)
{
    const char *port = strrchr(address, ':'), *at = strchr(address, '@'), *end;
    char name[INET6_ADDRSTRLEN];
    int got = -1;

    if (!port || !at || at > port || sscanf(address, "%16" SCNx64, &hello->key) != 1)
        return lt_fail(LT_EFAULT, "\"%s\" is no address of a hub", address);
    for (const char *p = at + 1; got < 0 && p < port; p = end + 1) {
        end = strpbrk(p, ",");
        if (!end || end > port)
            end = port;
        if ((size_t)(end - p) >= sizeof name)
            continue;
        memcpy(name, p, (size_t)(end - p));
        name[end - p] = '\0';
        got = try_address(name, port + 1, hello, welcome);
    }
    if (got < 0)
        return lt_fail(LT_EFAULT,
                       "rank %d cannot reach the supervisor of rank 0 at %.*s, port %s: %s; the "
                       "hosts of a job need TCP between them",
                       hello->rank, (int)(port - at - 1), at + 1, port + 1, strerror(errno));
    *fd = got;
    return LT_OK;
}
