// idle: opens --connections, says each one's hello, and holds them, so that the server's memory can
// be read from /proc meanwhile. Answers pings; sends nothing else.
//
// The hello file, optional: the lines are used in turn, line i for connection i. A line is fields
// between tabs: the value of Sec-WebSocket-Protocol (may be empty), then the text frames to send.
// A frame with an `id` is to be acknowledged with `ok:true`; a connection is ready when all are.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

struct hello { const char *subprotocols; char **frames; long count, acks; };

static struct hello *hellos;
static long hello_count, done_clients;

static struct hello *hello_of(const struct client *c) {
    return &hellos[c->index % (uint32_t)hello_count];
}

static const char *subprotocols(struct client *c) { return hello_of(c)->subprotocols; }

// `received` counts acks here.
static void note_ready(struct client *c) {
    if ((long)c->received == hello_of(c)->acks) done_clients++;
}

static void opened(struct client *c) {
    struct hello *h = hello_of(c);
    for (long i = 0; i < h->count; i++) send_text(c, h->frames[i], strlen(h->frames[i]));
    note_ready(c);
}

static void received(struct client *c, uint8_t *text, size_t count) {
    struct slice frame = {(char *)text, count}, type = json_value(frame, "type");
    bool is_ack = json_is(type, "\"ack\"") || json_is(type, "\"ACK\"");
    bool is_error = json_is(type, "\"error\"") || json_is(type, "\"ERROR\"");
    if (is_error || (is_ack && !json_is(json_value(json_value(frame, "payload"), "ok"), "true")))
        fail("connection %u: the hello was refused: %.*s", c->index, (int)count, (char *)text);
    if (!is_ack) return;
    c->received++;
    note_ready(c);
}

static bool all_ready(void) { return done_clients == options.connections; }

static void read_hellos(void) {
    static struct hello none;
    hellos = &none;
    hello_count = 1;
    if (!options.hello) return;
    char **lines = read_lines(options.hello, &hello_count);
    hellos = calloc((size_t)hello_count, sizeof *hellos);
    if (!hellos) fail("out of memory");
    for (long i = 0; i < hello_count; i++) {
        struct hello *h = &hellos[i];
        char *rest = lines[i], *first = strsep(&rest, "\t");
        h->subprotocols = *first ? first : NULL;
        for (char *frame; (frame = strsep(&rest, "\t"));) {
            h->frames = realloc(h->frames, (size_t)(h->count + 1) * sizeof *h->frames);
            if (!h->frames) fail("out of memory");
            h->frames[h->count++] = frame;
            h->acks += json_value((struct slice){frame, strlen(frame)}, "id").count > 0;
        }
    }
    free(lines);
}

void run_idle(void) {
    static const struct mode mode = {subprotocols, opened, received};
    read_hellos();
    uint64_t begun = clock_ns();
    open_clients(&mode, options.connections);
    run_until_open();
    for (long before = -1; !all_ready();) {
        if (before == done_clients)
            fail("%ld of %ld connections ready, then none in 30 s", done_clients,
                 options.connections);
        before = done_clients;
        run_loop(30, all_ready);
        if (stopped) exit(1);
    }
    printf("{\"mode\":\"idle\",\"url\":\"%s\",\"connections\":%ld,\"ready\":%ld,"
           "\"ready_after_s\":%.3f}\n", options.url, options.connections, done_clients,
           (double)(clock_ns() - begun) / 1e9);
    fflush(stdout);
    run_loop(options.seconds, NULL);  // a connection that is lost meanwhile ends the run with 1
}
