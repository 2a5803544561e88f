/* sentry_fuzz.c — any bytes as a certificate authority's answer, and what it holds as a
 * certificate: no crash, no overread, only the codes that the headers name. */
#include "block/call/sentry.h"
#include "format/spiffe.h"
#include "fuzz.h"
#include "loop/tls.h"

enum { ARENA_MAX = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    str pem, domain, path;
    struct tls_certificate c;
    struct error err = { 0 };
    arena_init(&a, ARENA_MAX);
    int r = sentry_unpack(str_of(data, size), &a, &pem, &err);
    FUZZ_CHECK(r == 0 || (r == -INVALID && err.code == INVALID));
    if (r < 0)
        pem = str_of(data, size); /* the certificate's own reader gets its share */
    err = (struct error){ 0 };
    r = tls_certificate_read(pem, &a, &c, &err);
    FUZZ_CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
    if (r == 0 && spiffe_parse(c.id, &domain, &path))
        FUZZ_CHECK(domain.n && path.n > 1 && domain.n + path.n + 9 == c.id.n);
    arena_done(&a);
    return 0;
}
