/* The conformance suite of crypto providers. */
#include "test/conformance/crypto/cases.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int encrypt_with(struct suite *s, const char *key, const char *algorithm)
{
    struct crypto_output out;
    struct crypto_input in = { .key = str_c(key),
                               .algorithm = str_c(algorithm),
                               .data = S("text"),
                               .nonce = S("0123456789ab") };
    return run(s, crypto_ops_of(s)->encrypt, &in, &out);
}

/* The contract's rule: what reads as base64 of either alphabet is that, anything else the key. */
static void a_key_file_is_bytes_or_base64(struct suite *s)
{
    static const struct {
        const char *text;
        const char *algorithm; /* the one of the key's size */
    } row[] = {
        { "AAECAwQFBgcICQoLDA0ODw==", "A128GCM" },
        { "AAECAwQFBgcICQoLDA0ODw", "A128GCM" },
        { "AAECAwQFBgcICQoLDA0ODw==\n", "A128GCM" },
        { "AAECAwQFBgcI\nCQoLDA0ODw==\n", "A128GCM" },
        { "-_-_-_-_-_-_-_-_-_-_-w", "A128GCM" },
        { "sixteen bytes!!!", "A128GCM" },
        { "{a key of 16 by}", "A128GCM" },
        { "thirty-two bytes, no base64: !!!", "A256GCM" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        key_text(s, "k", row[i].text);
        if (!CHECK(encrypt_with(s, "k", row[i].algorithm) == 0))
            printf("    %s\n", row[i].text);
    }
}

static void broken_keys_are_refused(struct suite *s)
{
    static const struct {
        const char *name, *text;
    } row[] = {
        { "empty", "" },
        { "a.json", "{}" },
        { "b.json", "[" },
        { "c.json", "{\"kty\":\"oct\"}" },
        { "d.json", "{\"kty\":\"oct\",\"k\":\"!\"}" },
        { "e.json", "{\"kty\":\"RSA\",\"n\":\"AQ\"}" },
        { "f.json", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQ\",\"y\":\"AQ\"}" },
        { "g.json", "{\"kty\":\"EC\",\"crv\":\"P-1\",\"x\":\"AQ\",\"y\":\"AQ\"}" },
        { "h.json", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AQ\"}" },
        { "i.json", "{\"kty\":\"what\"}" },
        { "j.json", "AAECAwQFBgcICQoLDA0ODw==" },
        { "k.pem", "AAECAwQFBgcICQoLDA0ODw==" },
        { "l.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" },
        { "m", "-----BEGIN" },
        { "n.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
                   "-----END ENCRYPTED PRIVATE KEY-----\n" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        key_text(s, row[i].name, row[i].text);
        if (!CHECK(encrypt_with(s, row[i].name, "A128GCM") == -INVALID))
            printf("    %s: %s\n", row[i].name, row[i].text);
    }
}

static void a_name_does_not_leave_the_folder(struct suite *s)
{
    static const char *const name[] = { "", "..", "../k", "a/../../k", "/etc/../k" };
    key_text(s, "k", "sixteen bytes!!!");
    CHECK(encrypt_with(s, "k", "A128GCM") == 0);
    for (size_t i = 0; i < COUNT(name); i++)
        CHECK(encrypt_with(s, name[i], "A128GCM") == -INVALID);
    CHECK(encrypt_with(s, "/etc/passwd", "A128GCM") == -NOT_FOUND); /* taken from the folder on */
    CHECK(encrypt_with(s, "nobody", "A128GCM") == -NOT_FOUND);
    CHECK(encrypt_with(s, "k/x", "A128GCM") == -NOT_FOUND);
}

static void a_new_key_counts_at_once(struct suite *s)
{
    CHECK(encrypt_with(s, "k", "A128GCM") == -NOT_FOUND);
    key_text(s, "k", "sixteen bytes!!!");
    CHECK(encrypt_with(s, "k", "A128GCM") == 0);
    key_text(s, "k", "thirty-two bytes, no base64: !!!");
    CHECK(encrypt_with(s, "k", "A128GCM") == -INVALID);
    CHECK(encrypt_with(s, "k", "A256GCM") == 0);
}

/* A pipe nobody writes to, a folder, an endless file: no operation may wait for them. */
static void what_is_no_file_is_no_key(struct suite *s)
{
    char path[200];
    snprintf(path, sizeof path, "%s/pipe", s->dir);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(encrypt_with(s, "pipe", "A128GCM") < 0);
    CHECK(encrypt_with(s, ".", "A128GCM") < 0);
    char *big = arena_alloc(&s->a, 70000);
    memset(big, 'A', 70000);
    key_bytes(s, "big", str_of(big, 70000));
    CHECK(encrypt_with(s, "big", "A128GCM") == -INVALID);
}

int main(int argc, char **argv)
{
    static const struct suite_case cases[] = {
        { "a_key_file_is_bytes_or_base64", 0, NULL, a_key_file_is_bytes_or_base64 },
        { "broken_keys_are_refused", 0, NULL, broken_keys_are_refused },
        { "a_name_does_not_leave_the_folder", 0, NULL, a_name_does_not_leave_the_folder },
        { "a_new_key_counts_at_once", 0, NULL, a_new_key_counts_at_once },
        { "what_is_no_file_is_no_key", 0, NULL, what_is_no_file_is_no_key },
    };
    struct suite_case all[32];
    size_t n = COUNT(cases);
    INV(n + n_crypto_cipher_cases + n_crypto_pkey_cases <= COUNT(all));
    memcpy(all, cases, sizeof cases);
    memcpy(all + n, crypto_cipher_cases, n_crypto_cipher_cases * sizeof *all);
    n += n_crypto_cipher_cases;
    memcpy(all + n, crypto_pkey_cases, n_crypto_pkey_cases * sizeof *all);
    n += n_crypto_pkey_cases;
    return suite_main(argc, argv, "crypto", all, n);
}
