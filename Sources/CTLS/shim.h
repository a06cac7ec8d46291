#ifndef MARTLET_CTLS_H
#define MARTLET_CTLS_H

/* What of libssl is a macro, or takes several calls that belong together. */

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* A client's context: TLS 1.2 or later, the server's certificate checked against the file of
 * authorities, or the system's store where that is NULL. NULL on failure. */
static inline SSL_CTX *martlet_tls_context(const char *authorities) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) return NULL;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    int ok = SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
             (authorities == NULL ? SSL_CTX_set_default_verify_paths(context)
                                  : SSL_CTX_load_verify_locations(context, authorities, NULL)) == 1;
    if (!ok) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

/* A connection in memory, whose server must have a certificate for host. NULL on failure. */
static inline SSL *martlet_tls_new(SSL_CTX *context, const char *host) {
    SSL *ssl = SSL_new(context);
    BIO *incoming = BIO_new(BIO_s_mem()), *outgoing = BIO_new(BIO_s_mem());
    if (ssl == NULL || incoming == NULL || outgoing == NULL) {
        SSL_free(ssl);
        BIO_free(incoming);
        BIO_free(outgoing);
        return NULL;
    }
    SSL_set_bio(ssl, incoming, outgoing);
    SSL_set_connect_state(ssl);
    /* A server may be named by its address, for which there is no SNI (RFC 6066 §3). */
    X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int ok = X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1 ||
             (X509_VERIFY_PARAM_set1_host(parameters, host, 0) == 1 &&
              SSL_set_tlsext_host_name(ssl, host) == 1);
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

static inline int martlet_tls_feed(SSL *ssl, const void *bytes, int count) {
    return BIO_write(SSL_get_rbio(ssl), bytes, count);
}

/* Takes up to count bytes for the peer; 0 or less where there are none. */
static inline int martlet_tls_take(SSL *ssl, void *bytes, int count) {
    return BIO_read(SSL_get_wbio(ssl), bytes, count);
}

static inline int martlet_tls_waiting(SSL *ssl) { return (int)BIO_pending(SSL_get_wbio(ssl)); }

/* 0 where the certificate is good, else OpenSSL's reason as text. */
static inline const char *martlet_tls_certificate_complaint(SSL *ssl) {
    long result = SSL_get_verify_result(ssl);
    return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}

/* The oldest error of this thread as text, and forgets all. */
static inline const char *martlet_tls_error(void) {
    const char *reason = ERR_reason_error_string(ERR_get_error());
    ERR_clear_error();
    return reason;
}

#endif
