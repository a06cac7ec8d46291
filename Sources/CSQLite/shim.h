#ifndef MARTLET_CSQLITE_H
#define MARTLET_CSQLITE_H

#include <sqlite3.h>

/* SQLITE_TRANSIENT is a cast of -1 to a function pointer, which Swift does not import. */
static inline int martlet_sqlite_bind_text(sqlite3_stmt *statement, int index, const char *bytes,
                                           int count) {
    /* A null pointer would bind NULL, also where an empty text is meant. */
    return sqlite3_bind_text(statement, index, count == 0 ? "" : bytes, count, SQLITE_TRANSIENT);
}

static inline int martlet_sqlite_bind_blob(sqlite3_stmt *statement, int index, const void *bytes,
                                           int count) {
    /* A null pointer would bind NULL, also where an empty blob is meant. */
    return count == 0 ? sqlite3_bind_zeroblob(statement, index, 0)
                      : sqlite3_bind_blob(statement, index, bytes, count, SQLITE_TRANSIENT);
}

/* Runs inside a commit: it may only take the number down. */
static inline int martlet_sqlite_note_wal_pages(void *pages, sqlite3 *database, const char *name,
                                                int count) {
    (void)database;
    (void)name;
    *(int *)pages = count;
    return SQLITE_OK;
}

/* Keeps `*pages` at the length of the write-ahead log, in pages, as of the last commit. Replaces
   SQLite's automatic checkpoint, which would run inside the commit that it follows. */
static inline void martlet_sqlite_count_wal_pages(sqlite3 *database, int *pages) {
    sqlite3_wal_hook(database, martlet_sqlite_note_wal_pages, pages);
}

#endif
