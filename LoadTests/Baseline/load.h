// What the parts of wsload share: the connections and their loop (client.c), the measurements
// (measure.c), the JSON reader (json.c), the four loads. One process, one thread, one loop.
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes { uint8_t *at; size_t count, capacity; };

struct options {
    const char *mode, *url, *hello, *tokens;
    const char *host, *path;     // of the url
    int port;
    long connections;            // --connections, --receivers or --senders
    long in_flight, size, server_pid, pending;
    double seconds, warmup;
};
extern struct options options;

// ---- connections

struct client {
    int fd;
    uint32_t index;
    enum { IDLE, CONNECTING, UPGRADING, OPEN, CLOSED } state;
    bool waits_for_output, is_dirty;
    struct bytes in, out;        // a partial frame or head; what is not yet sent
    struct client *next_dirty;
    uint64_t sent, received;     // messages; what they count is the mode's affair
};
extern struct client *clients;
extern long ready_clients;       // those whose handshake is done
extern uint64_t now;             // nanoseconds, monotonic, read after each recv

// What a mode does with the connections. A connection that is lost, at any time, ends the run.
struct mode {
    const char *(*subprotocols)(struct client *);  // may be null: none is asked for
    void (*opened)(struct client *);               // may be null
    void (*received)(struct client *, uint8_t *text, size_t count);
};

void open_clients(const struct mode *, long count);
void send_text(struct client *, const char *text, size_t count);  // leaves with the tick's flush
uint64_t clock_ns(void);
// Runs the loop until `seconds` have passed (negative: no limit), or `done` says so. True if done.
bool run_loop(double seconds, bool (*done)(void));
void run_until_open(void);       // all of them, or dies with what is missing
extern volatile bool stopped;    // by SIGTERM or SIGINT

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// ---- measurements

// Latencies in buckets of 1/64 of their power of two, so within 1.6 %.
struct histogram { uint64_t counts[64 * 64], total, max; };
void record(struct histogram *, uint64_t ns);
double quantile_us(const struct histogram *, double q);

// The measured window: warm-up is over, `now` is its start. `count` is the unit of the rate.
struct window {
    uint64_t begun, ended, count;
    double server_cpu, client_cpu, machine_cpu;  // seconds; first at the start, then in the window
    bool open;
};
extern struct window window;
extern struct histogram latency;
void begin_window(void);
void end_window(void);
// One line of JSON on stdout. `unit` names what is counted ("message"); extra is `"k":v,` or "".
void report(const char *unit, const char *extra);

// ---- JSON, only so far as to find a value by its key in one object

struct slice { const char *at; size_t count; };
struct slice json_value(struct slice object, const char *key);  // count 0: absent or malformed
bool json_is(struct slice value, const char *literal);

// ---- files of lines

// All lines of a file; each ends in NUL. Dies when the file is missing or has none.
char **read_lines(const char *path, long *count);

void run_echo(void);
void run_fanout(void);
void run_idle(void);
void run_chat(void);

#endif
