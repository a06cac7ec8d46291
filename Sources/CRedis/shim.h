#ifndef MARTLET_CREDIS_H
#define MARTLET_CREDIS_H

/* hiredis's reader of replies, with bounds that it has not (0.14, Debian 12): a header like
 * *2147483647 would allocate 16 GB before a single element has come. Bulk strings are safe there:
 * nothing is allocated for them before they have come whole. */

#include <hiredis/hiredis.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    /* Elements of an array; what Redis says to a subscriber has three. */
    MARTLET_REDIS_ELEMENTS = 16,
    /* All strings of one reply together. */
    MARTLET_REDIS_REPLY_BYTES = 2 * 1024 * 1024,
};

struct martlet_redis_bounds {
    /* hiredis's own, which make replies of type redisReply. */
    redisReplyObjectFunctions original;
    redisReplyObjectFunctions bounded;
    /* Bytes of the strings of the reply that is being read. */
    size_t bytes;
};

static inline struct martlet_redis_bounds *martlet_redis_bounds_of(const redisReadTask *task) {
    return (struct martlet_redis_bounds *)task->privdata;
}

static inline void *martlet_redis_string(const redisReadTask *task, char *bytes, size_t count) {
    struct martlet_redis_bounds *bounds = martlet_redis_bounds_of(task);
    if (count > MARTLET_REDIS_REPLY_BYTES - bounds->bytes) return NULL;
    bounds->bytes += count;
    return bounds->original.createString(task, bytes, count);
}

/* Arrays in arrays are no answer to anything that is asked here. */
static inline void *martlet_redis_array(const redisReadTask *task, int count) {
    if (count > MARTLET_REDIS_ELEMENTS || task->parent != NULL) return NULL;
    return martlet_redis_bounds_of(task)->original.createArray(task, count);
}

/* NULL where there is no memory. */
static inline redisReader *martlet_redis_reader_create(void) {
    struct martlet_redis_bounds *bounds = calloc(1, sizeof *bounds);
    redisReader *reader = redisReaderCreate();
    if (bounds == NULL || reader == NULL) {
        free(bounds);
        if (reader != NULL) redisReaderFree(reader);
        return NULL;
    }
    bounds->original = *reader->fn;
    bounds->bounded = *reader->fn;
    bounds->bounded.createString = martlet_redis_string;
    bounds->bounded.createArray = martlet_redis_array;
    reader->fn = &bounds->bounded;
    reader->privdata = bounds;
    return reader;
}

static inline void martlet_redis_reader_free(redisReader *reader) {
    struct martlet_redis_bounds *bounds = (struct martlet_redis_bounds *)reader->privdata;
    redisReaderFree(reader);
    free(bounds);
}

/* The next reply, *reply NULL where it has not come whole. To be freed with freeReplyObject. */
static inline int martlet_redis_reader_next(redisReader *reader, redisReply **reply) {
    void *object = NULL;
    int result = redisReaderGetReply(reader, &object);
    *reply = (redisReply *)object;
    if (object != NULL) ((struct martlet_redis_bounds *)reader->privdata)->bytes = 0;
    return result;
}

/* Bytes that were fed and not read. */
static inline size_t martlet_redis_reader_waiting(const redisReader *reader) {
    return reader->len - reader->pos;
}

#endif
