// Connections and the loop: non-blocking connects with a bounded number pending, the client's half
// of RFC 6455, one send() a connection and tick.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "accept_key.h"
#include "load.h"

enum { EVENTS = 512, READ_BYTES = 256 << 10, HEAD_MAX = 8192, MESSAGE_MAX = 1 << 20 };
enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
// Sources 127.0.0.2 … 127.0.0.201: one address has 28,232 ports, and Martlet limits by address.
enum { SOURCES = 200 };

struct client *clients;
long ready_clients;
uint64_t now;
volatile bool stopped;

static const struct mode *mode;
static int poller = -1;
static long client_count, opened_clients, pending;
static struct client *dirty;
static uint8_t scratch[READ_BYTES];
static char key[KEY_CHARS + 1], accept_expected[ACCEPT_CHARS + 1];

_Noreturn void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "wsload: %s: ", options.mode);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Masking keys are to be unpredictable only to protect proxies from browser scripts (RFC 6455
// §10.3); here they only have to vary, so that the server's unmasking does real work.
static uint32_t random_word(void) {
    static uint64_t state;
    if (!state) state = clock_ns() | 1;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void reserve(struct bytes *b, size_t capacity) {
    if (capacity <= b->capacity) return;
    if (capacity < b->capacity * 2) capacity = b->capacity * 2;
    if (!(b->at = realloc(b->at, capacity))) fail("out of memory");
    b->capacity = capacity;
}

static void release(struct bytes *b) { free(b->at); *b = (struct bytes){0}; }

static void watch(struct client *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e)) fail("epoll_ctl: %s", strerror(errno));
}

static void mark_dirty(struct client *c) {
    if (c->is_dirty) return;
    c->is_dirty = true;
    c->next_dirty = dirty;
    dirty = c;
}

static void queue_frame(struct client *c, uint8_t opcode, const uint8_t *payload, size_t count) {
    reserve(&c->out, c->out.count + 14 + count);
    uint8_t *f = c->out.at + c->out.count;
    size_t header = count < 126 ? 2 : count < 65536 ? 4 : 10;
    f[0] = 0x80 | opcode;
    if (header == 2) f[1] = 0x80 | (uint8_t)count;
    else {
        f[1] = header == 4 ? 0x80 | 126 : 0x80 | 127;
        for (size_t i = 2; i < header; i++)
            f[i] = (uint8_t)((uint64_t)count >> 8 * (header - 1 - i));
    }
    uint32_t mask = random_word();
    memcpy(f + header, &mask, 4);
    f += header + 4;
    uint64_t mask8 = (uint64_t)mask << 32 | mask, word;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        memcpy(&word, payload + i, 8);
        word ^= mask8;
        memcpy(f + i, &word, 8);
    }
    for (; i < count; i++) f[i] = payload[i] ^ (uint8_t)(mask >> 8 * (i & 3));
    c->out.count += header + 4 + count;
    mark_dirty(c);
}

void send_text(struct client *c, const char *text, size_t count) {
    queue_frame(c, TEXT, (const uint8_t *)text, count);
}

static void flush(struct client *c) {
    ssize_t sent = send(c->fd, c->out.at, c->out.count, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail("connection %u: send: %s", c->index, strerror(errno));
    if (sent > 0) c->out.count -= (size_t)sent;
    bool waits = c->out.count > 0;
    if (waits && sent > 0) memmove(c->out.at, c->out.at + sent, c->out.count);
    if (waits != c->waits_for_output) watch(c, EPOLLIN | (waits ? EPOLLOUT : 0));
    c->waits_for_output = waits;
}

static void start_connect(struct client *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &to.sin_addr) != 1)
        fail("not an IPv4 address: %s", options.host);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket: %s (ulimit -n?)", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if ((ntohl(to.sin_addr.s_addr) >> 24) == 127) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(0x7f000002u + c->index % SOURCES);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) fail("bind: %s", strerror(errno));
    }
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connection %u: connect: %s", c->index, strerror(errno));
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e)) fail("epoll_ctl: %s", strerror(errno));
    c->state = CONNECTING;
    pending++;
}

static void connect_more(void) {
    while (opened_clients < client_count && pending < options.pending)
        start_connect(&clients[opened_clients++]);
}

void open_clients(const struct mode *m, long count) {
    mode = m;
    client_count = count;
    clients = calloc((size_t)count, sizeof *clients);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || poller < 0) fail("out of memory or descriptors");
    for (long i = 0; i < count; i++) clients[i].index = (uint32_t)i;
    uint32_t nonce[4] = {random_word(), random_word(), random_word(), random_word()};
    base64((uint8_t *)nonce, 16, key);
    accept_key(key, accept_expected);
    connect_more();
}

static void request_upgrade(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("connection %u: connect: %s", c->index, strerror(error));
    const char *protocols = mode->subprotocols ? mode->subprotocols(c) : NULL;
    size_t room = 512 + strlen(options.path) + (protocols ? strlen(protocols) : 0);
    reserve(&c->out, room);
    c->out.count = (size_t)snprintf(
        (char *)c->out.at, room,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s%s\r\n",
        options.path, options.host, options.port, key, protocols ? "Sec-WebSocket-Protocol: " : "",
        protocols ? protocols : "", protocols ? "\r\n" : "");
    c->state = UPGRADING;
    watch(c, EPOLLIN);
    mark_dirty(c);
}

// The value of a header field in a NUL-terminated head, or null.
static const char *field(const char *head, const char *name) {
    size_t n = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n'))
        if (!strncasecmp(++line, name, n) && line[n] == ':') {
            line += n + 1;
            return line + strspn(line, " ");
        }
    return NULL;
}

static size_t take_head(struct client *c, uint8_t *data, size_t count) {
    uint8_t *end = memmem(data, count, "\r\n\r\n", 4);
    if (!end && count > HEAD_MAX) fail("connection %u: no end of the response head", c->index);
    if (!end) return 0;
    end[3] = 0;
    const char *head = (const char *)data, *accept = field(head, "Sec-WebSocket-Accept");
    if (strncmp(head, "HTTP/1.1 101", 12))
        fail("connection %u: refused: %.*s", c->index, (int)strcspn(head, "\r\n"), head);
    if (!accept || strncmp(accept, accept_expected, ACCEPT_CHARS))
        fail("connection %u: wrong Sec-WebSocket-Accept", c->index);
    if (mode->subprotocols && mode->subprotocols(c) && !field(head, "Sec-WebSocket-Protocol"))
        fail("connection %u: the server chose no subprotocol", c->index);
    c->state = OPEN;
    pending--;
    ready_clients++;
    if (!c->out.count) release(&c->out);  // idle connections keep nothing
    if (mode->opened) mode->opened(c);
    return (size_t)(end + 4 - data);
}

static void take_control(struct client *c, uint8_t opcode, uint8_t *payload, size_t count) {
    if (opcode == PING) queue_frame(c, PONG, payload, count);
    if (opcode != CLOSE) return;
    unsigned code = count >= 2 ? (unsigned)payload[0] << 8 | payload[1] : 1005;
    fail("connection %u: closed by the server with %u %.*s", c->index, code,
         (int)(count > 2 ? count - 2 : 0), count > 2 ? (char *)payload + 2 : "");
}

static size_t take_frames(struct client *c, uint8_t *data, size_t count) {
    size_t taken = 0;
    while (count - taken >= 2) {
        uint8_t *f = data + taken, opcode = f[0] & 15;
        uint64_t length = f[1];
        size_t header = length == 126 ? 4 : length == 127 ? 10 : 2;
        if (count - taken < header) break;
        if (header > 2) length = 0;
        for (size_t i = 2; i < header; i++) length = length << 8 | f[i];
        if ((f[0] & 0xf0) != 0x80 || (f[1] & 0x80) || length > MESSAGE_MAX)
            fail("connection %u: frame %02x %02x: masked, fragmented, extended or too long",
                 c->index, f[0], f[1]);
        if (count - taken < header + length) break;
        taken += header + length;
        if (opcode == TEXT || opcode == BINARY) mode->received(c, f + header, length);
        else take_control(c, opcode, f + header, length);
    }
    return taken;
}

static void read_input(struct client *c) {
    bool resumes = c->in.count > 0;
    if (resumes) reserve(&c->in, c->in.count + 16384);
    uint8_t *data = resumes ? c->in.at : scratch;
    size_t had = c->in.count;
    ssize_t got = recv(c->fd, data + had, resumes ? c->in.capacity - had : sizeof scratch, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0)
        fail("connection %u: %s", c->index, got ? strerror(errno) : "ended by the server");
    now = clock_ns();
    size_t count = had + (size_t)got, taken = 0;
    if (c->state == UPGRADING) taken = take_head(c, data, count);
    if (c->state == OPEN) taken += take_frames(c, data + taken, count - taken);
    if (taken == count) { if (c->in.capacity) release(&c->in); return; }
    reserve(&c->in, count - taken);
    memmove(c->in.at, data + taken, count - taken);
    c->in.count = count - taken;
}

static void flush_dirty(void) {
    for (struct client *c; (c = dirty);) {
        dirty = c->next_dirty;
        c->is_dirty = false;
        if (c->out.count && !c->waits_for_output) flush(c);
    }
}

bool run_loop(double seconds, bool (*done)(void)) {
    static struct epoll_event events[EVENTS];
    uint64_t deadline = seconds < 0 ? UINT64_MAX : clock_ns() + (uint64_t)(seconds * 1e9);
    for (;;) {
        connect_more();
        flush_dirty();
        if (done && done()) return true;
        now = clock_ns();
        if (stopped || now >= deadline) return false;
        uint64_t left_ms = (deadline - now + 999999) / 1000000;
        int n = epoll_wait(poller, events, EVENTS, left_ms > 1000 ? 1000 : (int)left_ms);
        if (n < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->state == CONNECTING) { request_upgrade(c); continue; }
            if (events[i].events & EPOLLOUT) flush(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT) read_input(c);
        }
    }
}

static bool all_open(void) { return ready_clients == client_count; }

void run_until_open(void) {
    for (long before = -1; before != ready_clients && !stopped;) {  // one more in each 15 s
        before = ready_clients;
        if (run_loop(15, all_open)) return;
    }
    fail("%ld of %ld connections opened, then none in 15 s", ready_clients, client_count);
}
