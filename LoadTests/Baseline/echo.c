// echo: each connection keeps --in-flight messages under way. Each message carries its number, so
// an echo that is lost, repeated, reordered or altered in length ends the run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "sequence.h"

static uint64_t *sent_times;  // by connection and number modulo --in-flight
static char *payload;

static uint64_t *sent_at(const struct client *c, uint64_t number) {
    uint64_t in_flight = (uint64_t)options.in_flight;
    return &sent_times[c->index * in_flight + number % in_flight];
}

static void send_next(struct client *c) {
    write_sequence(payload, c->sent);
    *sent_at(c, c->sent) = now;
    c->sent++;
    send_text(c, payload, (size_t)options.size);
}

static void received(struct client *c, uint8_t *text, size_t count) {
    uint64_t expected = c->received++;
    if (count != (size_t)options.size || read_sequence(text) != expected)
        fail("connection %u: echo %llu is not what was sent", c->index,
             (unsigned long long)expected);
    if (window.open) {
        window.count++;
        record(&latency, now - *sent_at(c, expected));
    }
    send_next(c);
}

void run_echo(void) {
    static const struct mode mode = {.received = received};
    sent_times = calloc((size_t)(options.connections * options.in_flight), sizeof *sent_times);
    payload = make_payload((size_t)options.size);
    if (!sent_times || !payload) fail("out of memory");
    open_clients(&mode, options.connections);
    run_until_open();
    for (long i = 0; i < options.connections; i++)
        for (long k = 0; k < options.in_flight; k++) send_next(&clients[i]);
    run_loop(options.warmup, NULL);
    begin_window();
    run_loop(options.seconds, NULL);
    end_window();
    report("message", "");
}
