#include "base/id.h"

#include "test/testing.h"

TEST(base64_goes_both_ways)
{
    static const struct {
        const char *plain, *text;
    } row[] = {
        /* RFC 4648 section 10 */
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" },
        { "\xff\xfe\xfd", "//79" },
    };
    EACH (row, r) {
        char text[16], plain[16];
        size_t n = 99;
        base64_encode(str_c(r->plain), text);
        CHECK_STR(str_of(text, base64_len(strlen(r->plain))), r->text);
        CHECK(base64_decode(str_c(r->text), plain, &n), "%s", r->text);
        CHECK_STR(str_of(plain, n), r->plain);
    }
}

TEST(base64_that_is_not_strict_is_refused)
{
    static const char *const row[] = { "Z",    "Zg",   "Zg=",  "Z===", "====", "Zg==Zg==", "Zh==",
                                       "Zm9=", "Zm 8", "Zm9-", "Zm9_", "=Zg=", "Zm9v\n" };
    EACH (row, r) {
        char plain[16];
        size_t n = 99;
        CHECK(!base64_decode(str_c(*r), plain, &n), "%s", *r);
        CHECK_EQ(n, 99);
    }
}

TEST(every_byte_survives_hex_and_base64)
{
    uint8_t in[256], out[258];
    char hex[512], text[344];
    size_t n = 0;
    for (size_t i = 0; i < 256; i++)
        in[i] = (uint8_t)i;
    id_hex(in, 256, hex);
    CHECK(id_unhex(str_of(hex, 512), out) && !memcmp(in, out, 256));
    CHECK_EQ(base64_len(256), 344);
    base64_encode(str_of(in, 256), text);
    CHECK(base64_decode(str_of(text, 344), (char *)out, &n) && n == 256 && !memcmp(in, out, 256));
}

TEST(hex_is_strict)
{
    uint8_t out[4] = { 0 };
    CHECK(id_unhex(S("DEADbeef"), out));
    CHECK_EQ(out[0], 0xde);
    CHECK_EQ(out[3], 0xef);
    CHECK(id_unhex(S(""), out));
    static const char *const row[] = { "a", "0g", "g0", " 0", "0x", "@a", "-1" };
    EACH (row, r)
        CHECK(!id_unhex(str_c(*r), out), "%s", *r);
}

TEST(uuids_have_their_form_and_differ)
{
    char a[UUID_LEN], b[UUID_LEN];
    for (int i = 0; i < 1000; i++) {
        id_uuid4(a);
        for (size_t k = 0; k < UUID_LEN; k++) {
            bool dash = k == 8 || k == 13 || k == 18 || k == 23;
            CHECK(dash ? a[k] == '-' : memchr("0123456789abcdef", a[k], 16) != NULL);
        }
        CHECK_EQ(a[14], '4');
        CHECK(memchr("89ab", a[19], 4) != NULL);
        CHECK(i == 0 || memcmp(a, b, UUID_LEN) != 0);
        memcpy(b, a, UUID_LEN);
    }
}

TEST(random_units_fill_the_interval)
{
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double x = id_random_unit();
        CHECK(x >= 0 && x < 1);
        sum += x;
    }
    CHECK(sum > 49000 && sum < 51000, "mean %g", sum / 100000);
    uint8_t secure[64] = { 0 };
    id_secure_bytes(secure, sizeof secure);
    size_t zeroes = 0;
    for (size_t i = 0; i < sizeof secure; i++)
        zeroes += !secure[i];
    CHECK(zeroes < 16);
}
