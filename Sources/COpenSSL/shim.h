/* The few functions of OpenSSL's libcrypto that Identity needs.
 *
 * They are wrapped because OpenSSL offers some as macros or with pointer types that Swift imports
 * badly, and so that this list is all a reader has to audit. Nothing here allocates for the caller.
 */
#ifndef MARTLET_COPENSSL_SHIM_H
#define MARTLET_COPENSSL_SHIM_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

_Static_assert(EVP_MAX_MD_SIZE >= 32, "HMAC-SHA-256 codes have 32 bytes");

/* Writes the 32 bytes of HMAC-SHA-256 (RFC 2104) to `code`. Returns 1, or 0 if it failed. */
static inline int martlet_hmac_sha256(const uint8_t *key, size_t key_count,
                                      const uint8_t *message, size_t message_count,
                                      uint8_t *code) {
    unsigned int count = 0;
    if (key_count > INT_MAX) return 0;
    return HMAC(EVP_sha256(), key, (int)key_count, message, message_count, code, &count) != NULL
        && count == 32;
}

/* Whether `count` bytes are equal, in a time that does not depend on where they differ. */
static inline int martlet_equal_constant_time(const uint8_t *first, const uint8_t *second,
                                              size_t count) {
    return CRYPTO_memcmp(first, second, count) == 0;
}

/* Overwrites memory in a way that the compiler may not leave out. */
static inline void martlet_cleanse(void *memory, size_t count) {
    OPENSSL_cleanse(memory, count);
}

/* Fills memory from the system's random generator. Returns 1, or 0 if it failed. */
static inline int martlet_random_bytes(uint8_t *memory, size_t count) {
    return count <= INT_MAX && RAND_bytes(memory, (int)count) == 1;
}

#endif
