// chat: durable sends. Each sender speaks plain JSON, dialect v1, joins nothing, and keeps one
// `message.send` outstanding; its ack, which the server gives only after the commit, sends the
// next.
//
// The tokens file: one sender a line, `token chatId`; line i is sender i's.
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

struct sender { char *subprotocols, *chat; uint64_t sent_at; };

static struct sender *senders;
static long ready_senders;
static uint64_t run_id;  // keeps this run's clientMsgIds apart from those of others
static char *content;

static const char *subprotocols(struct client *c) { return senders[c->index].subprotocols; }

static void send_next(struct client *c) {
    static char text[8192];
    c->sent++;
    int n = snprintf(text, sizeof text,
                     "{\"type\":\"message.send\",\"id\":%" PRIu64 ",\"payload\":{\"chatId\":\"%s\","
                     "\"clientMsgId\":\"%" PRIx64 "-%u-%" PRIu64 "\","
                     "\"encryptedContent\":\"%s\",\"type\":\"text\"}}",
                     c->sent, senders[c->index].chat, run_id, c->index, c->sent, content);
    if (n < 0 || (size_t)n >= sizeof text) fail("the message is longer than %zu", sizeof text);
    senders[c->index].sent_at = now;
    send_text(c, text, (size_t)n);
}

static void received_ack(struct client *c, struct slice frame) {
    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, c->sent);
    struct slice payload = json_value(frame, "payload");
    bool is_duplicate = json_is(json_value(payload, "duplicate"), "true");
    if (!json_is(json_value(payload, "ok"), "true") || is_duplicate)
        fail("sender %u: refused: %.*s", c->index, (int)frame.count, frame.at);
    if (!json_is(json_value(frame, "id"), id))
        fail("sender %u: this is no ack of %s: %.*s", c->index, id, (int)frame.count, frame.at);
    if (window.open) window.count++, record(&latency, now - senders[c->index].sent_at);
    send_next(c);
}

static void received(struct client *c, uint8_t *text, size_t count) {
    struct slice frame = {(char *)text, count}, type = json_value(frame, "type");
    if (json_is(type, "\"ack\"")) received_ack(c, frame);
    else if (json_is(type, "\"error\""))
        fail("sender %u: %.*s", c->index, (int)count, (char *)text);
    else if (json_is(type, "\"session.ready\"")) ready_senders++;
}

static bool all_ready(void) { return ready_senders == options.connections; }

static void read_senders(void) {
    long count;
    char **lines = read_lines(options.tokens, &count);
    if (count < options.connections)
        fail("%s has %ld lines for %ld senders", options.tokens, count, options.connections);
    senders = calloc((size_t)count, sizeof *senders);
    if (!senders) fail("out of memory");
    for (long i = 0; i < count; i++) {
        char *space = strchr(lines[i], ' ');
        if (!space) fail("%s: line %ld is not `token chatId`", options.tokens, i + 1);
        *space = 0;
        senders[i].chat = space + 1;
        if (asprintf(&senders[i].subprotocols, "martlet.v1, bearer.%s", lines[i]) < 0)
            fail("out of memory");
    }
    free(lines);
}

void run_chat(void) {
    static const struct mode mode = {.subprotocols = subprotocols, .received = received};
    if (!options.tokens) fail("--tokens FILE is needed");
    read_senders();
    run_id = clock_ns() ^ (uint64_t)getpid() << 48;
    content = malloc((size_t)options.size + 1);
    if (!content) fail("out of memory");
    memset(content, 'm', (size_t)options.size);
    content[options.size] = 0;
    open_clients(&mode, options.connections);
    run_until_open();
    if (!run_loop(15, all_ready))
        fail("%ld of %ld sessions ready after 15 s", ready_senders, options.connections);
    for (long i = 0; i < options.connections; i++) send_next(&clients[i]);
    run_loop(options.warmup, NULL);
    begin_window();
    run_loop(options.seconds, NULL);
    end_window();
    report("durable send", "");
}
