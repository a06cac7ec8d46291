#ifndef MARTLET_CPOSTGRES_H
#define MARTLET_CPOSTGRES_H

/* Debian keeps libpq's header in a folder of its own, others do not. */
#if __has_include(<libpq-fe.h>)
#include <libpq-fe.h>
#else
#include <postgresql/libpq-fe.h>
#endif

/* libpq prints what the server notes ("schema exists, skipping") to stderr by default. */
static inline void martlet_pg_ignore_notice(void *nothing, const PGresult *notice) {
    (void)nothing;
    (void)notice;
}

static inline void martlet_pg_silence(PGconn *connection) {
    PQsetNoticeReceiver(connection, martlet_pg_ignore_notice, 0);
}

/* Macros of characters, which Swift imports as numbers of another type than PQresultErrorField
   takes. */
static inline const char *martlet_pg_sqlstate(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_SQLSTATE);
}

static inline const char *martlet_pg_primary(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
}

#endif
