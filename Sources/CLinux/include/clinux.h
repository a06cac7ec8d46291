#ifndef MARTLET_CLINUX_H
#define MARTLET_CLINUX_H

/* What Swift's Glibc module does not have: epoll, eventfd, and the calls behind _GNU_SOURCE. Each
 * function makes one system call and returns its result, or -errno. */

#include <stdint.h>
#include <sys/uio.h>

/* Events of one wait at most. What a thousand connections say at once is one tick: the more of it is
 * read together, the more frames of a room leave in one send. */
#define MARTLET_EPOLL_BATCH 1024

/* As struct epoll_event, which is packed on x86-64 and therefore imported badly. */
struct martlet_epoll_event {
    uint32_t events;
    uint64_t data;
};

enum {
    MARTLET_EPOLLIN = 0x001,
    MARTLET_EPOLLOUT = 0x004,
    MARTLET_EPOLLERR = 0x008,
    MARTLET_EPOLLHUP = 0x010,
    MARTLET_EPOLLRDHUP = 0x2000,
};

int martlet_epoll_create(void);
int martlet_epoll_add(int epoll, int fd, uint32_t events, uint64_t data);
int martlet_epoll_modify(int epoll, int fd, uint32_t events, uint64_t data);
int martlet_epoll_remove(int epoll, int fd);
/* Waits at most timeout_ms (-1: without end). At most MARTLET_EPOLL_BATCH events. */
int martlet_epoll_wait(int epoll, struct martlet_epoll_event *events, int capacity, int timeout_ms);
/* The same with a timeout in nanoseconds, at least 0. */
int martlet_epoll_wait_ns(int epoll, struct martlet_epoll_event *events, int capacity,
                          int64_t timeout_ns);

int martlet_eventfd(void);
int martlet_eventfd_signal(int fd);
int martlet_eventfd_clear(int fd);

/* A listening, non-blocking TCP socket, which has a connection ready when its first bytes are there
 * (TCP_DEFER_ACCEPT) or it has been silent for a second. address is dotted or IPv6 text; port 0 chooses one.
 * shared: SO_REUSEPORT, one such socket a shard. */
int martlet_listen(const char *address, uint16_t port, int shared, int backlog);
/* The port that a socket is bound to. */
int martlet_local_port(int fd);
/* Accepts one connection, non-blocking, close-on-exec, TCP_NODELAY (which Linux has it inherit from
 * the listener). address gets the peer's IPv6 (v4-mapped) address, 16 bytes. */
int martlet_accept(int fd, uint8_t address[16]);
/* A peer's address: struct sockaddr_in or sockaddr_in6. */
struct martlet_address {
    uint8_t bytes[28];
    uint32_t length;
};
/* Up to 8 addresses of a host, by getaddrinfo(3). numeric: only addresses as text, which never
 * blocks. Returns how many, or -EAI_… */
int martlet_resolve(const char *host, uint16_t port, int numeric,
                    struct martlet_address addresses[8]);
const char *martlet_resolve_error(int error);
/* A non-blocking TCP socket that is connecting; close-on-exec, TCP_NODELAY. */
int martlet_connect(const struct martlet_address *address);
/* The same from a local address (its port is the system's choice, made when the peer is known), and
 * with SO_RCVBUF set before. source may be null, receive_buffer 0. */
int martlet_connect_from(const struct martlet_address *address,
                         const struct martlet_address *source, int receive_buffer);
/* What became of it, once it is writable: 0 or an errno. */
int martlet_connect_result(int fd);
int64_t martlet_receive(int fd, void *buffer, uint64_t count);
/* Throws away so many bytes that have come, at most (TCP only). */
int64_t martlet_discard(int fd, uint64_t count);
int64_t martlet_send(int fd, const void *buffer, uint64_t count);
int64_t martlet_write_vector(int fd, const struct iovec *vectors, int count);

/* Sends or receives on many sockets in one system call: io_uring, used like a longer send(2), with
 * nothing under way between two calls. */
struct martlet_ring;
struct martlet_transfer {
    int32_t fd;
    uint32_t length;
    void *buffer;
    /* Bytes, 0 for the end of what is received, or -errno. */
    int32_t result;
};
/* Null where the kernel has no io_uring or does not let us use it, with -errno in error. For at
 * most capacity transfers a call, a power of two. */
struct martlet_ring *martlet_ring_open(uint32_t capacity, int *error);
void martlet_ring_close(struct martlet_ring *ring);
/* Makes all transfers, without waiting for any socket. Returns 0, or -errno where the ring failed
 * (then the results are unknown). */
int martlet_ring_run(struct martlet_ring *ring, int is_send, struct martlet_transfer *transfers,
                     uint32_t count);

int martlet_shutdown_send(int fd);
int martlet_close(int fd);
/* Closes with a reset: what a lost network looks like to the peer; no TIME_WAIT is left. */
int martlet_reset(int fd);
/* Large blocks are mapped one by one, so that they go back to the system when they are freed. By
 * itself glibc stops doing so for blocks as large as any that was ever freed, and what small ones
 * then come to lie between them keeps the memory of a burst for good. */
void martlet_tune_allocator(void);
/* Gives whole pages that are free inside the heap back to the system. It holds each arena's lock
 * while it walks that arena's free blocks. */
void martlet_release_free_memory(void);
/* Raises the soft limit of open files to the hard one. Returns it. */
int64_t martlet_raise_file_limit(void);
/* Has the kernel make its table of open files as large as that now. Otherwise it doubles it when it
 * is full, and a process of several threads waits for each doubling until all processors have let
 * go of the old one (synchronize_rcu): some 15 ms in accept4. */
void martlet_reserve_files(int64_t count);
/* Blocks SIGTERM, SIGINT in this thread and those it makes; returns a signalfd for them.
 * SIGPIPE is ignored. */
int martlet_signalfd(void);
/* The next signal, 0 where none is pending. */
int martlet_signalfd_next(int fd);
/* Binds the calling thread to a core, and lets its timers fire without slack. core -1: any. */
int martlet_pin_thread(int core);
/* Names the calling thread; the kernel keeps 15 bytes. */
void martlet_name_thread(const char *name);
/* CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
uint64_t martlet_monotonic_ns(void);
int64_t martlet_realtime_ms(void);

#endif
