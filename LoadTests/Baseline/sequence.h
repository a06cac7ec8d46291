// The first 16 bytes of a payload are the message's number in hexadecimal, so that it is text.
#ifndef SEQUENCE_H
#define SEQUENCE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCE_CHARS = 16 };

static inline void write_sequence(char *to, uint64_t number) {
    for (int i = SEQUENCE_CHARS - 1; i >= 0; i--, number >>= 4)
        to[i] = "0123456789abcdef"[number & 15];
}

// Any other byte than a digit of ours gives a number that is never expected.
static inline uint64_t read_sequence(const uint8_t *from) {
    uint64_t number = 0;
    for (int i = 0; i < SEQUENCE_CHARS; i++) {
        uint8_t c = from[i];
        if (c >= '0' && c <= '9') number = number << 4 | (c - (unsigned)'0');
        else if (c >= 'a' && c <= 'f') number = number << 4 | (c - (unsigned)'a' + 10);
        else return UINT64_MAX;
    }
    return number;
}

static inline char *make_payload(size_t size) {
    char *payload = malloc(size);
    if (payload) memset(payload, 'm', size);
    return payload;
}

#endif
