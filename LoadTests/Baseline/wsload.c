// wsload: the load client of Scripts/bench; prints one line of JSON a run, exits 1 when a promise
// is broken (a lost, repeated or reordered message, an error ack, a lost connection).
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "load.h"
#include "sequence.h"

static const char usage[] =
    "usage: wsload MODE --url ws://ADDRESS:PORT/PATH [options]\n"
    "  echo    --connections 100 --in-flight 16 --size 128\n"
    "  fanout  --receivers 1000 --in-flight 1 --size 128      one sender, itself a receiver\n"
    "  idle    --connections 10000 [--hello FILE]             until SIGTERM, or --seconds\n"
    "  chat    --senders 100 --tokens FILE --size 128         durable sends, dialect v1\n"
    "common: --seconds 5 --warmup 1 --server-pid PID --pending 128\n"
    "  --server-pid  reports that process's CPU seconds in the window\n"
    "  --pending     connections opening at the same time\n";

struct options options = {
    .connections = 100, .in_flight = 1, .size = 128, .pending = 128, .seconds = -1, .warmup = 1,
};

static void stop(int signal) { (void)signal; stopped = true; }

static _Noreturn void misuse(const char *what) {
    fprintf(stderr, "wsload: %s\n%s", what, usage);
    exit(64);
}

static double number(const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most)) misuse(text);
    return value;
}

static void parse_url(const char *url) {
    char *rest = strdup(url), *path = NULL, *colon = NULL;  // kept for the process's life
    if (rest && !strncmp(rest, "ws://", 5)) path = strchr(rest + 5, '/');
    if (path) colon = memchr(rest + 5, ':', (size_t)(path - rest - 5));
    if (!colon) misuse("--url is not ws://ADDRESS:PORT/PATH");
    options.path = strdup(path);
    *path = *colon = 0;
    options.port = (int)number(colon + 1, 1, 65535);
    options.host = strcmp(rest + 5, "localhost") ? rest + 5 : "127.0.0.1";
}

static void parse_option(const char *name, const char *value) {
    if (!strcmp(name, "--url")) options.url = value, parse_url(value);
    else if (!strcmp(name, "--hello")) options.hello = value;
    else if (!strcmp(name, "--tokens")) options.tokens = value;
    else if (!strcmp(name, "--connections") || !strcmp(name, "--receivers") ||
             !strcmp(name, "--senders"))
        options.connections = (long)number(value, 1, 1e6);
    else if (!strcmp(name, "--in-flight")) options.in_flight = (long)number(value, 1, 65536);
    else if (!strcmp(name, "--size")) options.size = (long)number(value, SEQUENCE_CHARS, 65536);
    else if (!strcmp(name, "--seconds")) options.seconds = number(value, 0.1, 1e6);
    else if (!strcmp(name, "--warmup")) options.warmup = number(value, 0, 1e6);
    else if (!strcmp(name, "--server-pid")) options.server_pid = (long)number(value, 1, 1e9);
    else if (!strcmp(name, "--pending")) options.pending = (long)number(value, 1, 65536);
    else misuse(name);
}

char **read_lines(const char *path, long *count) {
    FILE *file = fopen(path, "r");
    if (!file) fail("cannot open %s", path);
    char **lines = NULL, *line = NULL;
    size_t capacity = 0;
    *count = 0;
    for (ssize_t n; (n = getline(&line, &capacity, file)) >= 0; line = NULL, capacity = 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (!(lines = realloc(lines, (size_t)(*count + 1) * sizeof *lines))) fail("out of memory");
        lines[(*count)++] = line;
    }
    free(line);
    fclose(file);
    if (!*count) fail("%s is empty", path);
    return lines;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc % 2) misuse("a mode, then pairs of option and value");
    options.mode = argv[1];
    for (int i = 2; i < argc; i += 2) parse_option(argv[i], argv[i + 1]);
    if (!options.url) misuse("--url is missing");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    bool idles = !strcmp(options.mode, "idle");
    if (options.seconds < 0 && !idles) options.seconds = 5;
    if (!strcmp(options.mode, "echo")) run_echo();
    else if (!strcmp(options.mode, "fanout")) run_fanout();
    else if (!strcmp(options.mode, "chat")) run_chat();
    else if (idles) run_idle();
    else misuse(options.mode);
    return 0;
}
