// fanout: --receivers connections in one room, the first of them publishes. A message is complete
// when its last receiver has it; --in-flight are kept incomplete. Every receiver must get every
// message exactly once and in order, also those under way when the window ends.
#include <stdio.h>
#include <stdlib.h>

#include "load.h"
#include "sequence.h"

struct published { uint64_t at; long received; };

static struct published *under_way;  // by number modulo --in-flight
static uint64_t published, completed;
static bool publishes = true;
static char *payload;

// In order at each receiver means that messages also complete in order, so that a number's place
// is free again when it is reused.
static void publish(void) {
    while (publishes && published - completed < (uint64_t)options.in_flight) {
        under_way[published % (uint64_t)options.in_flight] = (struct published){.at = now};
        write_sequence(payload, published++);
        send_text(&clients[0], payload, (size_t)options.size);
    }
}

static void received(struct client *c, uint8_t *text, size_t count) {
    uint64_t expected = c->received++;
    uint64_t got = count == (size_t)options.size ? read_sequence(text) : UINT64_MAX;
    if (got != expected || expected >= published)
        fail("receiver %u: message %llu came where %llu was expected", c->index,
             (unsigned long long)got, (unsigned long long)expected);
    struct published *message = &under_way[expected % (uint64_t)options.in_flight];
    if (window.open) window.count++, record(&latency, now - message->at);
    if (++message->received < options.connections) return;
    completed++;
    publish();
}

static bool all_complete(void) { return completed == published; }

static void check_complete(void) {
    publishes = false;
    if (!run_loop(10, all_complete)) {
        long missing = 0;
        for (long i = 0; i < options.connections; i++) missing += clients[i].received < published;
        fail("after 10 s %ld receivers still miss messages of %llu", missing,
             (unsigned long long)published);
    }
    run_loop(0.2, NULL);  // a repeat would come now, and `received` would refuse it
}

void run_fanout(void) {
    static const struct mode mode = {.received = received};
    under_way = calloc((size_t)options.in_flight, sizeof *under_way);
    payload = make_payload((size_t)options.size);
    if (!under_way || !payload) fail("out of memory");
    open_clients(&mode, options.connections);
    run_until_open();
    publish();
    run_loop(options.warmup, NULL);
    begin_window();
    run_loop(options.seconds, NULL);
    end_window();
    check_complete();
    char extra[64];
    snprintf(extra, sizeof extra, "\"published\":%llu,", (unsigned long long)published);
    report("delivery", extra);
}
