/* tls_private.h — what stream.c hands to TLS once a stream has it, for the files of src/loop only.
 * Owner:  the stream; tls_close() frees.
 * Thread: the stream's worker.   Failure: as the functions of stream.h that call them. */
#pragma once

#include "loop/tls.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

struct tls_context {
    pthread_mutex_t lock; /* .ctx: tls_context_renew() replaces it; whoever uses one counts it */
    SSL_CTX *ctx;
    atomic_uint refs;
    bool server, insecure, spiffe;
    bool h2, no_alpn;
    bool renegotiate_once;
};

/* The reason that OpenSSL's queue of this thread names first, in words; empties the queue. */
const char *tls_reason(void);

/* A connection by what the context holds now. NULL: out of memory. */
SSL *tls_context_connection(struct tls_context *c) WUR;
/* The text after "-----BEGIN" in memory; NULL: out of memory, with the story. */
BIO *tls_pem_open(str pem, const char *what, struct error *err);
/* A workload's one URI, to be freed with mem_free(). NULL: *ret_why says what is wrong. */
char *tls_workload_id(X509 *certificate, const char **ret_why) WUR;

ssize_t tls_try_read(struct stream *s, void *p, size_t n) WUR;
ssize_t tls_try_writev(struct stream *s, const struct iovec *iov, size_t n_iov) WUR;
/* Whether tls_try_read() would say something else than -ABORTED. */
bool tls_readable(struct stream *s);
/* Output that the socket didn't take waits for it to become writable: then tls_flush(). */
bool tls_unsent(const struct stream *s);
int tls_flush(struct stream *s) WUR;
int tls_shutdown(struct stream *s) WUR;
/* Tells the peer of the end, without waiting, unless abrupt; frees s->tls. */
void tls_close(struct stream *s, bool abrupt);
