/* csr.h — a fresh Ed25519 key and the request for a certificate of it (PKCS #10), which names
 * nobody: who asks is the authority's to judge.
 * Owner:  the arena; the key is the caller's to wipe (csr_forget()).
 * Thread: any.   Failure: -EXHAUSTED. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct csr {
    str key, request; /* PEM */
};

int csr_new(struct arena *a, struct csr *ret, struct error *err) WUR;
void csr_forget(struct csr *c); /* overwrites the key */
