// The measured window: counts, latencies, and the CPU time that server and client took in it.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load.h"

struct window window;
struct histogram latency;

static unsigned bucket(uint64_t ns) {
    if (ns < 64) return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);  // ≥ 6
    return (power - 5) * 64 + (unsigned)(ns >> (power - 6) & 63);
}

static double bucket_ns(unsigned index) {
    if (index < 64) return index;
    unsigned power = index / 64 + 5;
    return (double)((uint64_t)(64 + index % 64) << (power - 6));
}

void record(struct histogram *h, uint64_t ns) {
    h->counts[bucket(ns)]++;
    h->total++;
    if (ns > h->max) h->max = ns;
}

double quantile_us(const struct histogram *h, double q) {
    uint64_t rank = (uint64_t)(q * (double)h->total), seen = 0;
    if (!h->total) return 0;
    for (unsigned i = 0; i < 64 * 64; i++)
        if ((seen += h->counts[i]) > rank) return bucket_ns(i) / 1e3;
    return (double)h->max / 1e3;
}

// User and system seconds of all its threads (proc(5): fields 14 and 15 of stat, in clock ticks).
static double cpu_of_server(void) {
    char path[64], text[1024];
    if (!options.server_pid) return 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", options.server_pid);
    FILE *file = fopen(path, "r");
    if (!file) fail("no process %ld", options.server_pid);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    const char *after_name = strrchr(text, ')');  // the name may hold spaces
    unsigned long user, system;
    static const char fields[] = "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu";
    if (!after_name || sscanf(after_name + 2, fields, &user, &system) != 2)
        fail("unreadable %s", path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

// Busy seconds of all cores, stolen ones too (proc(5): the first line of /proc/stat; its guest
// columns are contained in user and nice). What is neither server nor client disturbs the run.
static double cpu_of_machine(void) {
    unsigned long user, nice, system, irq, softirq, steal;
    FILE *file = fopen("/proc/stat", "r");
    if (!file || fscanf(file, "cpu %lu %lu %lu %*u %*u %lu %lu %lu", &user, &nice, &system, &irq,
                        &softirq, &steal) != 6)
        fail("unreadable /proc/stat");
    fclose(file);
    return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of_client(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

void begin_window(void) {
    memset(&latency, 0, sizeof latency);
    window = (struct window){.server_cpu = cpu_of_server(), .client_cpu = cpu_of_client(),
                             .machine_cpu = cpu_of_machine(), .open = true};
    window.begun = clock_ns();
}

void end_window(void) {
    window.ended = clock_ns();
    window.open = false;
    window.server_cpu = cpu_of_server() - window.server_cpu;
    window.client_cpu = cpu_of_client() - window.client_cpu;
    window.machine_cpu = cpu_of_machine() - window.machine_cpu;
}

void report(const char *unit, const char *extra) {
    if (!window.count) fail("nothing came in the measured window");
    double seconds = (double)(window.ended - window.begun) / 1e9, count = (double)window.count;
    printf("{\"mode\":\"%s\",\"url\":\"%s\",\"connections\":%ld,\"in_flight\":%ld,\"size\":%ld,"
           "\"seconds\":%.3f,\"unit\":\"%s\",\"count\":%llu,\"rate\":%.1f,%s",
           options.mode, options.url, options.connections, options.in_flight, options.size,
           seconds, unit, (unsigned long long)window.count, count / seconds, extra);
    printf("\"latency_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f},",
           quantile_us(&latency, .5), quantile_us(&latency, .9), quantile_us(&latency, .99),
           (double)latency.max / 1e3);
    if (options.server_pid)
        printf("\"server_cpu_s\":%.2f,\"server_cpu_us_each\":%.3f,\"other_cpu_s\":%.2f,",
               window.server_cpu, window.server_cpu * 1e6 / count,
               window.machine_cpu - window.server_cpu - window.client_cpu);
    printf("\"client_cpu_s\":%.2f}\n", window.client_cpu);
    fflush(stdout);
}
