#define _GNU_SOURCE
#include "clinux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Static_assert(MARTLET_EPOLLIN == EPOLLIN, "epoll constants");
_Static_assert(MARTLET_EPOLLOUT == EPOLLOUT, "epoll constants");
_Static_assert(MARTLET_EPOLLERR == EPOLLERR, "epoll constants");
_Static_assert(MARTLET_EPOLLHUP == EPOLLHUP, "epoll constants");
_Static_assert(MARTLET_EPOLLRDHUP == EPOLLRDHUP, "epoll constants");

#define OR_ERRNO(call)                       \
    do {                                     \
        __typeof__(call) result_ = (call);   \
        return result_ < 0 ? -errno : result_; \
    } while (0)

int martlet_epoll_create(void) { OR_ERRNO(epoll_create1(EPOLL_CLOEXEC)); }

static int control(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    OR_ERRNO(epoll_ctl(epoll, operation, fd, &event));
}

int martlet_epoll_add(int epoll, int fd, uint32_t events, uint64_t data) {
    return control(epoll, EPOLL_CTL_ADD, fd, events, data);
}

int martlet_epoll_modify(int epoll, int fd, uint32_t events, uint64_t data) {
    return control(epoll, EPOLL_CTL_MOD, fd, events, data);
}

int martlet_epoll_remove(int epoll, int fd) { return control(epoll, EPOLL_CTL_DEL, fd, 0, 0); }

static int taken(const struct epoll_event *raw, int count, struct martlet_epoll_event *events) {
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        events[i].events = raw[i].events;
        events[i].data = raw[i].data.u64;
    }
    return count;
}

int martlet_epoll_wait(int epoll, struct martlet_epoll_event *events, int capacity,
                       int timeout_ms) {
    struct epoll_event raw[MARTLET_EPOLL_BATCH];
    if (capacity > MARTLET_EPOLL_BATCH) capacity = MARTLET_EPOLL_BATCH;
    return taken(raw, epoll_wait(epoll, raw, capacity, timeout_ms), events);
}

int martlet_epoll_wait_ns(int epoll, struct martlet_epoll_event *events, int capacity,
                          int64_t timeout_ns) {
    struct epoll_event raw[MARTLET_EPOLL_BATCH];
    if (capacity > MARTLET_EPOLL_BATCH) capacity = MARTLET_EPOLL_BATCH;
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                               .tv_nsec = timeout_ns % 1000000000};
    static _Thread_local int is_missing; /* before Linux 5.11, and under valgrind */
    int count = is_missing ? -1 : epoll_pwait2(epoll, raw, capacity, &timeout, NULL);
    if (is_missing || (count < 0 && errno == ENOSYS)) {
        is_missing = 1;
        int64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 > 0);
        count = epoll_wait(epoll, raw, capacity, timeout_ms > 60000 ? 60000 : (int)timeout_ms);
    }
    return taken(raw, count, events);
}

int martlet_eventfd(void) { OR_ERRNO(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

int martlet_eventfd_signal(int fd) {
    uint64_t one = 1;
    return write(fd, &one, sizeof one) < 0 && errno != EAGAIN ? -errno : 0;
}

int martlet_eventfd_clear(int fd) {
    uint64_t value;
    return read(fd, &value, sizeof value) < 0 && errno != EAGAIN ? -errno : 0;
}

int martlet_listen(const char *address, uint16_t port, int shared, int backlog) {
    struct sockaddr_storage storage;
    memset(&storage, 0, sizeof storage);
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
    socklen_t length;
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        length = sizeof *v4;
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        length = sizeof *v6;
    } else {
        return -EINVAL;
    }
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* What is accepted inherits it: a call less for each connection. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Clients speak first. Until then the kernel keeps them, with what little it needs to know; after
     * a second they come as they are. */
    int seconds = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
    /* "::" serves IPv4 clients too. */
    if (storage.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        bind(fd, (struct sockaddr *)&storage, length) < 0 ||
        (backlog > 0 && listen(fd, backlog) < 0)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int martlet_local_port(int fd) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &length) < 0) return -errno;
    return storage.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&storage)->sin_port)
                                        : ntohs(((struct sockaddr_in6 *)&storage)->sin6_port);
}

int martlet_accept(int fd, uint8_t address[16]) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    int client = accept4(fd, (struct sockaddr *)&storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return -errno;
    memset(address, 0, 16);
    if (storage.ss_family == AF_INET) {
        address[10] = address[11] = 0xFF;
        memcpy(address + 12, &((struct sockaddr_in *)&storage)->sin_addr, 4);
    } else {
        memcpy(address, &((struct sockaddr_in6 *)&storage)->sin6_addr, 16);
    }
    return client;
}

_Static_assert(sizeof(struct sockaddr_in6) == sizeof(((struct martlet_address *)0)->bytes),
               "room for either address");

int martlet_resolve(const char *host, uint16_t port, int numeric,
                    struct martlet_address addresses[8]) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = numeric ? AI_NUMERICHOST : AI_ADDRCONFIG};
    struct addrinfo *first = NULL;
    int error = getaddrinfo(host, NULL, &hints, &first);
    if (error != 0) return error < 0 ? error : -error;
    int count = 0;
    for (struct addrinfo *info = first; info != NULL && count < 8; info = info->ai_next) {
        if (info->ai_addrlen > sizeof addresses[count].bytes) continue;
        if (info->ai_family == AF_INET)
            ((struct sockaddr_in *)info->ai_addr)->sin_port = htons(port);
        else if (info->ai_family == AF_INET6)
            ((struct sockaddr_in6 *)info->ai_addr)->sin6_port = htons(port);
        else
            continue;
        memcpy(addresses[count].bytes, info->ai_addr, info->ai_addrlen);
        addresses[count].length = info->ai_addrlen;
        count++;
    }
    freeaddrinfo(first);
    return count > 0 ? count : EAI_NONAME;
}

const char *martlet_resolve_error(int error) { return gai_strerror(error); }

int martlet_connect(const struct martlet_address *address) {
    return martlet_connect_from(address, NULL, 0);
}

int martlet_connect_from(const struct martlet_address *address,
                         const struct martlet_address *source, int receive_buffer) {
    struct sockaddr_storage storage, from;
    memset(&storage, 0, sizeof storage);
    memcpy(&storage, address->bytes, sizeof address->bytes);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (receive_buffer > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (source != NULL) {
        memset(&from, 0, sizeof from);
        memcpy(&from, source->bytes, sizeof source->bytes);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&from, source->length) < 0) {
            int error = errno;
            close(fd);
            return -error;
        }
    }
    if (connect(fd, (struct sockaddr *)&storage, address->length) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int martlet_connect_result(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return errno;
    return error;
}

int64_t martlet_receive(int fd, void *buffer, uint64_t count) {
    OR_ERRNO(recv(fd, buffer, count, 0));
}

int64_t martlet_send(int fd, const void *buffer, uint64_t count) {
    OR_ERRNO(send(fd, buffer, count, MSG_NOSIGNAL));
}

int64_t martlet_write_vector(int fd, const struct iovec *vectors, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = (size_t)count};
    OR_ERRNO(sendmsg(fd, &message, MSG_NOSIGNAL));
}

int64_t martlet_discard(int fd, uint64_t count) {
    OR_ERRNO(recv(fd, NULL, count, MSG_TRUNC | MSG_DONTWAIT));
}

int martlet_shutdown_send(int fd) { OR_ERRNO(shutdown(fd, SHUT_WR)); }

int martlet_close(int fd) { OR_ERRNO(close(fd)); }

int martlet_reset(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    OR_ERRNO(close(fd));
}

void martlet_tune_allocator(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
#endif
}

void martlet_release_free_memory(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

int64_t martlet_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return (int64_t)limit.rlim_cur;
}

void martlet_reserve_files(int64_t count) {
    if (count < 1 || count > INT32_MAX) return;
    int file = eventfd(0, EFD_CLOEXEC);
    if (file < 0) return;
    int last = fcntl(file, F_DUPFD_CLOEXEC, (int)count - 1);
    if (last >= 0) close(last);
    close(file);
}

int martlet_signalfd(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -errno;
    OR_ERRNO(signalfd(-1, &set, SFD_CLOEXEC));
}

int martlet_signalfd_next(int fd) {
    struct signalfd_siginfo info;
    ssize_t count = read(fd, &info, sizeof info);
    if (count < 0) return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    return (int)info.ssi_signo;
}

int martlet_pin_thread(int core) {
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    if (core < 0) return 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    OR_ERRNO(sched_setaffinity(0, sizeof set, &set));
}

void martlet_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

uint64_t martlet_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t martlet_realtime_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
