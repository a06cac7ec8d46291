#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the two queues that are shared with the kernel only the submission queue's tail and the
 * completion queue's head are ours to write. Between two calls both queues are empty. */
struct martlet_ring {
    int descriptor;
    uint32_t capacity;
    void *queues;
    size_t queue_bytes;
    struct io_uring_sqe *requests;
    size_t request_bytes;
    uint32_t *submission_tail, submission_mask;
    uint32_t *completion_head, *completion_tail, completion_mask;
    struct io_uring_cqe *completions;
};

static int enter(const struct martlet_ring *ring, uint32_t submitted, uint32_t awaited) {
    long result = syscall(SYS_io_uring_enter, ring->descriptor, submitted, awaited,
                          awaited > 0 ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
    return result < 0 ? -errno : (int)result;
}

static int32_t transfer(int is_send, const struct martlet_transfer *one) {
    ssize_t count = is_send ? send(one->fd, one->buffer, one->length, MSG_NOSIGNAL | MSG_DONTWAIT)
                            : recv(one->fd, one->buffer, one->length, MSG_DONTWAIT);
    return count < 0 ? -errno : (int32_t)count;
}

static uint32_t take_completions(struct martlet_ring *ring, struct martlet_transfer *transfers,
                                 uint32_t count) {
    uint32_t head = *ring->completion_head;
    uint32_t tail = __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE);
    uint32_t taken = tail - head;
    for (; head != tail; head++) {
        const struct io_uring_cqe *done = &ring->completions[head & ring->completion_mask];
        if (done->user_data < count) transfers[done->user_data].result = done->res;
    }
    __atomic_store_n(ring->completion_head, head, __ATOMIC_RELEASE);
    return taken;
}

/* may_wait: for requests that the kernel has put aside; none of ours should be. */
static int run(struct martlet_ring *ring, int is_send, struct martlet_transfer *transfers,
               uint32_t count, int may_wait) {
    uint32_t begin = *ring->submission_tail, tail = begin;
    for (uint32_t i = 0; i < count; i++, tail++) {
        struct io_uring_sqe *request = &ring->requests[tail & ring->submission_mask];
        memset(request, 0, sizeof *request);
        request->opcode = is_send ? IORING_OP_SEND : IORING_OP_RECV;
        request->fd = transfers[i].fd;
        request->addr = (uint64_t)(uintptr_t)transfers[i].buffer;
        request->len = transfers[i].length;
        request->msg_flags = MSG_DONTWAIT | (is_send ? MSG_NOSIGNAL : 0);
        request->user_data = i;
    }
    __atomic_store_n(ring->submission_tail, tail, __ATOMIC_RELEASE);
    uint32_t submitted = 0, completed = 0;
    while (submitted < count) {
        int result = enter(ring, count - submitted, 0);
        if (result == -EINTR) continue;
        if (result <= 0) break;
        submitted += (uint32_t)result;
    }
    if (submitted < count) {
        /* No memory for them, say. The kernel has not looked at these: we take them back. */
        __atomic_store_n(ring->submission_tail, begin + submitted, __ATOMIC_RELEASE);
        for (uint32_t i = submitted; i < count; i++)
            transfers[i].result = transfer(is_send, &transfers[i]);
    }
    while ((completed += take_completions(ring, transfers, count)) < submitted) {
        if (!may_wait) return -ETIME;
        int result = enter(ring, 0, submitted - completed);
        if (result < 0 && result != -EINTR) return result;
    }
    /* The ring's own need of memory, which a call of its own does not have. */
    for (uint32_t i = 0; i < count; i++)
        if (transfers[i].result == -ENOMEM) transfers[i].result = transfer(is_send, &transfers[i]);
    return 0;
}

/* Does the kernel do at once what can be done at once, and say so where it cannot? */
static int check(struct martlet_ring *ring) {
    int pair[2];
    char sent[2] = {'a', 'b'}, received[2] = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
    struct martlet_transfer one = {.fd = pair[1], .length = 1, .buffer = &sent[1]};
    struct martlet_transfer sends[2] = {{.fd = pair[0], .length = 1, .buffer = &sent[0]},
                                        {.fd = pair[1], .length = 1, .buffer = &sent[1]}};
    struct martlet_transfer receives[2] = {{.fd = pair[1], .length = 1, .buffer = &received[0]},
                                           {.fd = pair[1], .length = 1, .buffer = &received[1]}};
    int error = run(ring, 1, sends, 2, 0);
    if (error == 0) error = run(ring, 0, receives, 2, 0);
    if (error == 0 && (sends[0].result != 1 || sends[1].result != 1 || receives[0].result != 1 ||
                       receives[1].result != -EAGAIN || received[0] != 'a'))
        error = -ENOTSUP;
    /* Until there is no room. */
    while (transfer(1, &one) == 1) continue;
    sends[0].fd = pair[1];
    if (error == 0) error = run(ring, 1, sends, 2, 0);
    if (error == 0 && (sends[0].result != -EAGAIN || sends[1].result != -EAGAIN)) error = -ENOTSUP;
    close(pair[0]);
    close(pair[1]);
    return error;
}

struct martlet_ring *martlet_ring_open(uint32_t capacity, int *error) {
    struct io_uring_params parameters;
    memset(&parameters, 0, sizeof parameters);
    struct martlet_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    ring->queues = ring->requests = MAP_FAILED;
    ring->descriptor = (int)syscall(SYS_io_uring_setup, capacity, &parameters);
    *error = ring->descriptor < 0 ? -errno : 0;
    if (*error == 0 && !(parameters.features & IORING_FEAT_SINGLE_MMAP)) *error = -ENOTSUP;
    if (*error == 0) {
        size_t submissions = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
        size_t completions =
            parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
        ring->queue_bytes = submissions > completions ? submissions : completions;
        ring->request_bytes = parameters.sq_entries * sizeof(struct io_uring_sqe);
        ring->queues = mmap(NULL, ring->queue_bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQ_RING);
        ring->requests = mmap(NULL, ring->request_bytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQES);
        if (ring->queues == MAP_FAILED || ring->requests == MAP_FAILED) *error = -errno;
    }
    if (*error == 0) {
        char *base = ring->queues;
        ring->capacity = parameters.sq_entries;
        ring->submission_tail = (uint32_t *)(base + parameters.sq_off.tail);
        ring->submission_mask = *(uint32_t *)(base + parameters.sq_off.ring_mask);
        ring->completion_head = (uint32_t *)(base + parameters.cq_off.head);
        ring->completion_tail = (uint32_t *)(base + parameters.cq_off.tail);
        ring->completion_mask = *(uint32_t *)(base + parameters.cq_off.ring_mask);
        ring->completions = (struct io_uring_cqe *)(base + parameters.cq_off.cqes);
        uint32_t *order = (uint32_t *)(base + parameters.sq_off.array);
        for (uint32_t i = 0; i < parameters.sq_entries; i++) order[i] = i;
        *error = check(ring);
    }
    if (*error == 0) return ring;
    martlet_ring_close(ring);
    return NULL;
}

void martlet_ring_close(struct martlet_ring *ring) {
    if (ring->queues != MAP_FAILED) munmap(ring->queues, ring->queue_bytes);
    if (ring->requests != MAP_FAILED) munmap(ring->requests, ring->request_bytes);
    if (ring->descriptor >= 0) close(ring->descriptor);
    free(ring);
}

int martlet_ring_run(struct martlet_ring *ring, int is_send, struct martlet_transfer *transfers,
                     uint32_t count) {
    /* Two calls of their own cost less than one that carries them. */
    if (count < 3) {
        for (uint32_t i = 0; i < count; i++) transfers[i].result = transfer(is_send, &transfers[i]);
        return 0;
    }
    if (count > ring->capacity) return -EINVAL;
    return run(ring, is_send, transfers, count, 1);
}
