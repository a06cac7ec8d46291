// The handshake proof of RFC 6455 §4.2.2: base64(SHA-1(key + GUID)). SHA-1 is written out here
// (RFC 3174) so that the baseline links no library; nothing in it is secret.
#ifndef ACCEPT_KEY_H
#define ACCEPT_KEY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { KEY_CHARS = 24, ACCEPT_CHARS = 28 };

static inline uint32_t sha1_rotate(uint32_t word, int bits) {
    return word << bits | word >> (32 - bits);
}

static inline void sha1_block(uint32_t state[5], const uint8_t block[64]) {
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = sha1_rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = sha1_rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = sha1_rotate(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

static inline void base64(const uint8_t *bytes, int count, char *text) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < count; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (i + 1 < count) three |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < count) three |= bytes[i + 2];
        *text++ = alphabet[three >> 18];
        *text++ = alphabet[three >> 12 & 63];
        *text++ = i + 1 < count ? alphabet[three >> 6 & 63] : '=';
        *text++ = i + 2 < count ? alphabet[three & 63] : '=';
    }
    *text = 0;
}

// `key` is the 24 characters of Sec-WebSocket-Key; key and GUID are 60 bytes, so always two blocks.
static inline void accept_key(const char *key, char accept[ACCEPT_CHARS + 1]) {
    uint8_t message[128] = {0};
    memcpy(message, key, KEY_CHARS);
    memcpy(message + KEY_CHARS, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    message[60] = 0x80;
    message[126] = (60 * 8) >> 8;
    message[127] = (60 * 8) & 255;
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    sha1_block(state, message);
    sha1_block(state, message + 64);
    uint8_t digest[20];
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    base64(digest, 20, accept);
}

#endif
