#include "base/hash.h"

#include "base/id.h"
#include "test/testing.h"

TEST(sha256_matches_the_published_examples)
{
    static const struct {
        const char *in, *want;
    } row[] = {
        /* FIPS 180-2, appendix B, and its empty string */
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    EACH (row, r) {
        uint8_t sum[32];
        char hex[64];
        hash_sha256(str_c(r->in), sum);
        id_hex(sum, 32, hex);
        CHECK_STR(str_of(hex, 64), r->want);
    }
    char *a = mem_alloc(1000000);
    REQUIRE(a);
    memset(a, 'a', 1000000);
    uint8_t sum[32];
    char hex[64];
    hash_sha256(str_of(a, 1000000), sum);
    id_hex(sum, 32, hex);
    CHECK_STR(str_of(hex, 64), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    mem_free(a);
}

TEST(sha1_matches_the_published_examples)
{
    static const struct {
        const char *in, *want;
    } row[] = {
        /* FIPS 180-2, appendix A, and its empty string */
        { "", "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
        { "abc", "a9993e364706816aba3e25717850c26c9cd0d89d" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
    };
    EACH (row, r) {
        uint8_t sum[20];
        char hex[40];
        hash_sha1(str_c(r->in), sum);
        id_hex(sum, 20, hex);
        CHECK_STR(str_of(hex, 40), r->want);
    }
}

TEST(crc16_is_that_of_redis_cluster)
{
    CHECK_EQ(hash_crc16(S("123456789")), 0x31c3);
    CHECK_EQ(hash_crc16(S("")), 0);
    CHECK_EQ(hash_crc16(S("foo")) & 16383, 12182);
}

TEST(stable_hash_never_changes)
{
    /* FNV-1a of "a" is published as af63dc4c8601ec8c; the final mix was computed apart from here.
     */
    uint64_t h = 0xaf63dc4c8601ec8c;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccd;
    h ^= h >> 33;
    CHECK_EQ(hash_stable(S("a")), h);
    CHECK(hash_stable(S("a")) != hash_stable(S("b")));
}

TEST(seeded_hash_spreads_and_repeats)
{
    size_t bucket[64] = { 0 };
    for (int i = 0; i < 64000; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "key-%d", i);
        uint64_t h = hash_bytes(str_of(key, (size_t)n));
        CHECK_EQ(h, hash_bytes(str_of(key, (size_t)n)));
        bucket[h % 64]++;
    }
    for (size_t i = 0; i < 64; i++) /* 1000 expected, standard deviation 31 */
        CHECK(bucket[i] > 800 && bucket[i] < 1200, "bucket %zu has %zu", i, bucket[i]);
    CHECK(hash_bytes(S("")) != hash_bytes(S("\0")));
    CHECK(hash_bytes(S("ab")) != hash_bytes(S("ab\0")));
}
