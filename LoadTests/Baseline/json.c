// Finds a value by its key in one JSON object, without a tree. It trusts the server to send valid
// JSON: what is malformed is merely not found.
#include <string.h>

#include "load.h"

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

// Past a string that begins at `at`.
static const char *skip_string(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\') at++;
    return at < end ? at + 1 : end;
}

static const char *skip_value(const char *at, const char *end) {
    if (at < end && *at == '"') return skip_string(at, end);
    for (int depth = 0; at < end;) {
        if (*at == '"') { at = skip_string(at, end); continue; }
        if (depth == 0 && (*at == ',' || *at == '}' || *at == ']')) return at;
        if (*at == '{' || *at == '[') depth++;
        if ((*at == '}' || *at == ']') && --depth == 0) return at + 1;
        at++;
    }
    return end;
}

struct slice json_value(struct slice object, const char *key) {
    const char *at = object.at, *end = at + object.count;
    size_t key_count = strlen(key);
    at = skip_space(at, end);
    if (at == end || *at++ != '{') return (struct slice){0};
    for (;;) {
        const char *name = at = skip_space(at, end);
        if (at == end || *at != '"') return (struct slice){0};
        at = skip_string(at, end);
        bool is_it = (size_t)(at - name) == key_count + 2 && !memcmp(name + 1, key, key_count);
        at = skip_space(at, end);
        if (at == end || *at++ != ':') return (struct slice){0};
        const char *value = at = skip_space(at, end);
        at = skip_value(at, end);
        if (is_it) return (struct slice){value, (size_t)(at - value)};
        at = skip_space(at, end);
        if (at == end || *at++ != ',') return (struct slice){0};
    }
}

bool json_is(struct slice value, const char *literal) {
    size_t count = strlen(literal);
    while (value.count && strchr(" \t\r\n", value.at[value.count - 1])) value.count--;
    return value.count == count && !memcmp(value.at, literal, count);
}
