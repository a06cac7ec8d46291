// raw: the line of what is possible. A single-threaded epoll WebSocket server with nothing in it
// but RFC 6455 framing, against which Martlet is measured (Scripts/bench).
//
//   /bench/echo         answers each text or binary frame with the same frame
//   /bench/room/{name}  sends each whole text message to every member of the room, sender included
//
//   raw [--port N] [--single | --join]      port 0, the default, is chosen and printed
//
// --join (default): all frames of one tick to one connection leave in one send().
// --single: one send() a delivery, as a server does that writes each message when it has it.
//
// Left out, because a baseline needs neither: UTF-8 validation (Autobahn's 6.* fail), a timeout on
// the closing handshake, freeing of the names of empty rooms. An output over OUT_MAX closes.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accept_key.h"

enum { EVENTS = 1024, HEAD_MAX = 8192, ROOM_NAME_MAX = 128 };
enum { READ_BYTES = 256 << 10, LOG_MAX = 1 << 20, FRAME_MAX = 17 << 20, OUT_MAX = 64 << 20 };
enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

struct bytes { uint8_t *at; size_t count, capacity; };

struct room {
    struct room *next;
    char name[ROOM_NAME_MAX + 1];
    struct connection **members;
    uint32_t count, capacity;
    struct bytes log;  // the frames of this tick, stored once for all members
    struct room *next_dirty;
    bool dirty;
};

struct connection {
    int fd;
    uint32_t place;              // index in room->members
    struct room *room;           // null: echo
    struct bytes in, out;        // a partial frame; what the socket did not take
    struct connection *next_dead;
    enum { HANDSHAKE, OPEN, CLOSING, DEAD } state;  // CLOSING: FIN sent, input thrown away
    bool in_message;             // between a first fragment and its FIN
    bool waits_for_output;       // EPOLLOUT is armed
    bool ends_after_output;
};

static int poller, listener;
static bool joins = true;
static struct room *rooms, *dirty_rooms;
static struct connection *dead;
static uint8_t scratch[READ_BYTES];

static void die(const char *what) { perror(what); exit(1); }

static void reserve(struct bytes *b, size_t capacity) {
    if (capacity <= b->capacity) return;
    if (capacity < b->capacity * 2) capacity = b->capacity * 2;
    if (!(b->at = realloc(b->at, capacity))) die("realloc");
    b->capacity = capacity;
}

static void append(struct bytes *b, const void *data, size_t count) {
    reserve(b, b->count + count);
    memcpy(b->at + b->count, data, count);
    b->count += count;
}

static void release(struct bytes *b) { free(b->at); *b = (struct bytes){0}; }

// Freed at the end of the tick: this tick's events and room lists may still name it.
static void kill_connection(struct connection *c) {
    if (c->state == DEAD) return;
    c->state = DEAD;
    c->next_dead = dead;
    dead = c;
}

static void watch(struct connection *c, bool output) {
    if (c->waits_for_output == output) return;
    c->waits_for_output = output;
    struct epoll_event e = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void send_bytes(struct connection *c, const uint8_t *data, size_t count) {
    if (c->state >= CLOSING || !count) return;
    if (!c->out.count) {
        ssize_t sent = send(c->fd, data, count, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) { kill_connection(c); return; }
        if (sent > 0) data += sent, count -= (size_t)sent;
        if (!count) return;
    }
    if (c->out.count + count > OUT_MAX) { kill_connection(c); return; }
    append(&c->out, data, count);
    watch(c, true);
}

// Half-close, then read to the peer's FIN: close() with unread input would send RST and could
// take our close frame with it.
static void finish(struct connection *c) {
    if (c->state >= CLOSING) return;
    if (c->out.count) { c->ends_after_output = true; return; }
    c->state = CLOSING;
    shutdown(c->fd, SHUT_WR);
}

static void flush_output(struct connection *c) {
    ssize_t sent = send(c->fd, c->out.at, c->out.count, MSG_NOSIGNAL);
    if (sent < 0) { if (errno != EAGAIN) kill_connection(c); return; }
    c->out.count -= (size_t)sent;
    if (c->out.count) { memmove(c->out.at, c->out.at + sent, c->out.count); return; }
    release(&c->out);
    watch(c, false);
    if (c->ends_after_output) finish(c);
}

static void flush_room(struct room *r) {
    for (uint32_t i = 0; i < r->count; i++) send_bytes(r->members[i], r->log.at, r->log.count);
    r->log.count = 0;
}

static void enter_room(struct connection *c, const char *name) {
    struct room *r = rooms;
    while (r && strcmp(r->name, name)) r = r->next;
    if (!r) {
        if (!(r = calloc(1, sizeof *r))) die("calloc");
        strcpy(r->name, name);  // bounded by the caller
        r->next = rooms, rooms = r;
    }
    if (r->log.count) flush_room(r);  // what was said before is not for the newcomer
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 16;
        if (!(r->members = realloc(r->members, r->capacity * sizeof *r->members))) die("realloc");
    }
    c->room = r;
    c->place = r->count;
    r->members[r->count++] = c;
}

static size_t frame_header(uint8_t *to, uint8_t first, size_t count) {
    to[0] = first;
    if (count < 126) return to[1] = (uint8_t)count, 2;
    if (count < 65536) return to[1] = 126, to[2] = (uint8_t)(count >> 8), to[3] = (uint8_t)count, 4;
    to[1] = 127;
    for (int i = 0; i < 8; i++) to[2 + i] = (uint8_t)((uint64_t)count >> (56 - 8 * i));
    return 10;
}

// Copies towards lower addresses, or in place; each word is read before it is overwritten.
static void unmask(uint8_t *to, const uint8_t *from, size_t count, const uint8_t key[4]) {
    uint32_t key4;
    memcpy(&key4, key, 4);
    uint64_t key8 = (uint64_t)key4 << 32 | key4, word;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= key8;
        memcpy(to + i, &word, 8);
    }
    for (size_t k = 0; i < count; i++, k++) to[i] = from[i] ^ (uint8_t)(key4 >> (8 * (k & 3)));
}

static bool close_code_is_valid(const uint8_t *payload, size_t count) {
    if (count < 2) return count == 0;
    unsigned code = (unsigned)payload[0] << 8 | payload[1];  // RFC 6455 §7.4
    bool is_reserved = code >= 1004 && code <= 1006;
    return (code >= 1000 && code <= 1014 && !is_reserved) || (code >= 3000 && code < 5000);
}

// One frame, whole at `from`; its answer is written at `to`. An unmasked header is 4 bytes shorter
// than a masked one, so answers never overtake the input and the buffer serves both.
// Returns the bytes of the answer; sets *end when the connection is to be closed after it.
static size_t answer(struct connection *c, uint8_t *to, uint8_t first, uint8_t *payload,
                     size_t count, const uint8_t key_at[4], bool *end) {
    uint8_t key[4], opcode = first & 15;
    bool whole = first & 0x80;
    memcpy(key, key_at, 4);
    bool legal = !(first & 0x70);  // no extension is negotiated, so no RSV bit
    if (opcode >= CLOSE) legal = legal && opcode <= PONG && whole && count < 126;
    else legal = legal && opcode <= BINARY && (opcode == CONTINUATION) == c->in_message &&
                 (!c->room || (whole && opcode == TEXT));
    if (opcode == CLOSE && legal) {
        unmask(payload, payload, count, key);
        memset(key, 0, 4);
        legal = close_code_is_valid(payload, count);
    }
    if (!legal) {
        *end = true;
        memcpy(to, (uint8_t[]){0x80 | CLOSE, 2, 1002 >> 8, 1002 & 255}, 4);
        return 4;
    }
    if (opcode == PONG) return 0;
    *end = opcode == CLOSE;
    if (opcode == PING) first = 0x80 | PONG;
    if (opcode < CLOSE) c->in_message = !whole;
    if (opcode < CLOSE && c->room) {
        struct room *r = c->room;
        if (r->log.count > LOG_MAX) flush_room(r);
        reserve(&r->log, r->log.count + 10 + count);
        r->log.count += frame_header(r->log.at + r->log.count, first, count);
        unmask(r->log.at + r->log.count, payload, count, key);
        r->log.count += count;
        if (!joins) flush_room(r);
        else if (!r->dirty) r->dirty = true, r->next_dirty = dirty_rooms, dirty_rooms = r;
        return 0;
    }
    size_t header = frame_header(to, first, count);
    unmask(to + header, payload, count, key);
    return header + count;
}

// Takes all whole frames from `data`, answers them, and returns the bytes taken.
static size_t take_frames(struct connection *c, uint8_t *data, size_t count) {
    size_t taken = 0, answered = 0, wants = 0;
    bool end = false;
    while (!end && c->state == OPEN && count - taken >= 6) {
        uint8_t *f = data + taken;
        size_t header = 6;
        uint64_t length = f[1] & 127;
        if (length == 126) header = 8;
        if (length == 127) header = 14;
        if (count - taken < header) break;
        if (length == 126) length = (uint64_t)f[2] << 8 | f[3];
        else if (length == 127) {
            length = 0;
            for (int i = 0; i < 8; i++) length = length << 8 | f[2 + i];
        }
        if (!(f[1] & 0x80) || length > FRAME_MAX) { kill_connection(c); break; }
        if (count - taken < header + length) { wants = header + length; break; }
        size_t n = answer(c, data + answered, f[0], f + header, length, f + header - 4, &end);
        if (!joins && n) send_bytes(c, data + answered, n);
        else answered += n;
        taken += header + length;
    }
    send_bytes(c, data, answered);
    if (end) { finish(c); return count; }
    if (wants && c->state == OPEN) reserve(&c->in, wants);  // the rest is read where it is to lie
    return taken;
}

// The head has ended with an empty line and a NUL stands for its last byte.
static bool upgrade(struct connection *c, char *head) {
    char *line = strchr(head, '\n'), *key = NULL;
    for (; line; line = strchr(line, '\n'))
        if (!strncasecmp(++line, "Sec-WebSocket-Key:", 18))
            key = line + 18 + strspn(line + 18, " ");
    if (strncmp(head, "GET ", 4) || !key || strcspn(key, " \r\n") != KEY_CHARS) return false;
    char *path = head + 4, accept[ACCEPT_CHARS + 1], text[256];
    accept_key(key, accept);
    path[strcspn(path, " ?\r\n")] = 0;
    bool is_room = !strncmp(path, "/bench/room/", 12) && path[12];
    if (is_room && strlen(path + 12) > ROOM_NAME_MAX) return false;
    if (!is_room && strcmp(path, "/bench/echo")) return false;
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 101 Switching Protocols\r\n"
                     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    send_bytes(c, (uint8_t *)text, (size_t)n);
    if (c->state == HANDSHAKE) c->state = OPEN;
    if (is_room) enter_room(c, path + 12);
    return true;
}

static size_t take_head(struct connection *c, uint8_t *data, size_t count) {
    uint8_t *end = memmem(data, count, "\r\n\r\n", 4);
    if (!end) { if (count > HEAD_MAX) kill_connection(c); return 0; }
    end[3] = 0;
    if (!upgrade(c, (char *)data)) {
        static const char refusal[] =
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        send_bytes(c, (const uint8_t *)refusal, sizeof refusal - 1);
        finish(c);
        return count;
    }
    return (size_t)(end + 4 - data);
}

static void read_input(struct connection *c) {
    bool resumes = c->in.count > 0;  // a partial frame goes on in its own buffer
    if (resumes) reserve(&c->in, c->in.count + 4096);
    uint8_t *data = resumes ? c->in.at : scratch;
    size_t had = c->in.count, room = resumes ? c->in.capacity - had : sizeof scratch;
    ssize_t got = recv(c->fd, data + had, room, 0);
    if (got <= 0) { if (got == 0 || errno != EAGAIN) kill_connection(c); return; }
    if (c->state == CLOSING || c->ends_after_output) return;
    size_t count = had + (size_t)got, taken = 0;
    if (resumes) c->in.count = count;
    if (c->state == HANDSHAKE) taken = take_head(c, data, count);
    if (c->state == OPEN) {
        struct bytes before = c->in;
        taken += take_frames(c, data + taken, count - taken);
        if (resumes && c->in.at != before.at) data = c->in.at;  // it grew while a frame was awaited
    }
    if (taken == count) { if (c->in.capacity) release(&c->in); return; }
    if (!resumes) { append(&c->in, data + taken, count - taken); return; }
    memmove(c->in.at, data + taken, count - taken);
    c->in.count = count - taken;
}

static void accept_all(void) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept");  // no descriptors left: say so
}

static void bury(void) {
    for (struct connection *c; (c = dead);) {
        dead = c->next_dead;
        if (c->room) {
            struct connection *last = c->room->members[--c->room->count];
            c->room->members[last->place = c->place] = last;
        }
        close(c->fd);
        release(&c->in), release(&c->out), free(c);
    }
}

static void run(void) {
    static struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) { accept_all(); continue; }
            if (c->state != DEAD && events[i].events & EPOLLOUT) flush_output(c);
            if (c->state != DEAD && events[i].events & ~(uint32_t)EPOLLOUT) read_input(c);
        }
        for (struct room *r; (r = dirty_rooms);) {
            dirty_rooms = r->next_dirty;
            r->dirty = false;
            flush_room(r);
        }
        bury();
    }
}

int main(int argc, char **argv) {
    int port = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--port") && i + 1 < argc) port = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--single")) joins = false;
        else if (strcmp(argv[i], "--join")) {
            fprintf(stderr, "usage: raw [--port N] [--single | --join]\n");
            return 64;
        }
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&a, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&a, &size);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e)) die("epoll_ctl");
    printf("listening on %d\n", ntohs(a.sin_port));
    fflush(stdout);
    run();
}
