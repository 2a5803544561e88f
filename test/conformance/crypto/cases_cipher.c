#include "test/conformance/crypto/cases.h"

#include <stdio.h>
#include <string.h>

/* Published examples: what goes in is known, and so is what must come out. */
static const struct vector {
    const char *name, *algorithm, *key, *nonce, *aad, *plain, *cipher, *tag;
    bool wrap;
} vectors[] = {
    { "SP 800-38A F.2.1, without padding", "A128CBC-NOPAD", "2b7e151628aed2a6abf7158809cf4f3c",
      "000102030405060708090a0b0c0d0e0f", "",
      "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
      "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2", "", false },
    { "McGrew and Viega, case 4", "A128GCM", "feffe9928665731c6d6a8f9467308308",
      "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
      "b5"
      "25b16aedf5aa0de657ba637b39",
      "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84"
      "aa"
      "051ba30b396a0aac973d58e091",
      "5bc94fbc3221a5db94fae95ae7121a47", false },
    { "McGrew and Viega, case 13: nothing", "A256GCM",
      "0000000000000000000000000000000000000000000000000000000000000000",
      "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b", false },
    { "McGrew and Viega, case 16", "A256GCM",
      "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
      "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
      "b5"
      "25b16aedf5aa0de657ba637b39",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b105682"
      "8838"
      "c5f61e6393ba7a0abcc9f662",
      "76fc6ece0f4e1768cddf8853bb2d551b", false },
    { "RFC 3394 4.1", "A128KW", "000102030405060708090a0b0c0d0e0f", "", "",
      "00112233445566778899aabbccddeeff", "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5", "",
      true },
    { "RFC 3394 4.2", "A192KW", "000102030405060708090a0b0c0d0e0f1011121314151617", "", "",
      "00112233445566778899aabbccddeeff", "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d", "",
      true },
    { "RFC 3394 4.6", "A256KW", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "", "", "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
      "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21", "",
      true },
    { "RFC 7518 B.1", "A128CBC-HS256",
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "1af38c2dc2b96ffdd86694092341bc04",
      "546865207365636f6e64207072696e6369706c65206f662041756775737465204b6572636b686f666673",
      "41206369706865722073797374656d206d757374206e6f7420626520726571756972656420746f20626520736563"
      "726574"
      "2c20616e64206974206d7573742062652061626c6520746f2066616c6c20696e746f207468652068616e6473206f"
      "6620"
      "74686520656e656d7920776974686f757420696e636f6e76656e69656e6365",
      "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9a94ac9b47ad2655c5f10f9aef714"
      "27e2"
      "fc6f9b3f399a221489f16362c703233609d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9"
      "cf1b"
      "384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade54b8851ffb598f7f80074b9473c82"
      "e2db",
      "652c3fa36b0a7c5b3219fab3a30bc1c4", false },
    { "RFC 8439 2.8.2", "C20P", "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
      "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
      "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a2049662049"
      "2063"
      "6f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c207375"
      "6e73"
      "637265656e20776f756c642062652069742e",
      "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92"
      "728b"
      "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831"
      "d7bc"
      "3ff4def08e4b7a9de576d26586cec64b6116",
      "1ae10b594f09e26a7e902ecbd0600691", false },
    { "draft-irtf-cfrg-xchacha A.3.1", "XC20P",
      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
      "404142434445464748494a4b4c4d4e4f5051525354555657", "50515253c0c1c2c3c4c5c6c7",
      "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a2049662049"
      "2063"
      "6f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c207375"
      "6e73"
      "637265656e20776f756c642062652069742e",
      "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda"
      "7e39"
      "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3"
      "fff9"
      "21f9664c97637da9768812f615c68b13b52e",
      "c0875924c1c7987947deafd8780acf49", false },
};

static struct crypto_input input_of(struct suite *s, const struct vector *v, const char *data)
{
    key_bytes(s, "k", unhex(s, v->key));
    return (struct crypto_input){
        .key = S("k"),
        .algorithm = str_c(v->algorithm),
        .data = unhex(s, data),
        .nonce = unhex(s, v->nonce),
        .associated_data = unhex(s, v->aad),
    };
}

static crypto_call *opener(struct suite *s, const struct vector *v)
{
    return v->wrap ? crypto_ops_of(s)->unwrap_key : crypto_ops_of(s)->decrypt;
}

static void published_examples_come_out(struct suite *s)
{
    for (size_t i = 0; i < COUNT(vectors); i++) {
        const struct vector *v = &vectors[i];
        struct crypto_output out;
        struct crypto_input in = input_of(s, v, v->plain);
        crypto_call *seal = v->wrap ? crypto_ops_of(s)->wrap_key : crypto_ops_of(s)->encrypt;
        bool ok = CHECK(run(s, seal, &in, &out) == 0) &&
                  CHECK(same(out.data, unhex(s, v->cipher))) &&
                  CHECK(same(out.tag, unhex(s, v->tag)));
        in = input_of(s, v, v->cipher);
        in.tag = unhex(s, v->tag);
        ok = CHECK(run(s, opener(s, v), &in, &out) == 0) &&
             CHECK(same(out.data, unhex(s, v->plain))) && ok;
        if (!ok)
            printf("    %s\n", v->name);
    }
}

static str flipped(struct suite *s, str in, size_t bit)
{
    str copy = arena_dup(&s->a, in);
    ((char *)copy.p)[bit / 8] ^= (char)(1 << bit % 8);
    return copy;
}

static bool authentic(const struct vector *v)
{
    return v->tag[0] || v->wrap;
}

/* Every bit of what is authenticated counts: the message, the tag, the nonce, the associated data.
 */
static void nothing_forged_is_opened(struct suite *s)
{
    for (size_t i = 0; i < COUNT(vectors); i++) {
        const struct vector *v = &vectors[i];
        struct crypto_input good = input_of(s, v, v->cipher);
        struct crypto_output out;
        good.tag = unhex(s, v->tag);
        str *part[] = { &good.data, &good.tag, &good.nonce, &good.associated_data };
        for (size_t p = 0; authentic(v) && p < COUNT(part); p++) {
            str original = *part[p];
            for (size_t bit = 0; bit < original.n * 8; bit += bit < 16 ? 1 : 31) {
                *part[p] = flipped(s, original, bit);
                if (!CHECK(run(s, opener(s, v), &good, &out) == -INVALID))
                    printf("    %s, part %zu, bit %zu\n", v->name, p, bit);
            }
            *part[p] = original;
        }
    }
}

static void cut_off_inputs_are_refused(struct suite *s)
{
    for (size_t i = 0; i < COUNT(vectors); i++) {
        const struct vector *v = &vectors[i];
        struct crypto_input in = input_of(s, v, v->cipher);
        struct crypto_output out;
        in.tag = unhex(s, v->tag);
        str tag = in.tag, nonce = in.nonce, data = in.data;
        for (size_t n = 0; n < tag.n; n++) {
            in.tag = str_take(tag, n);
            CHECK(run(s, opener(s, v), &in, &out) == -INVALID);
        }
        in.tag = tag;
        for (size_t n = 0; n < nonce.n; n++) {
            in.nonce = str_take(nonce, n);
            CHECK(run(s, opener(s, v), &in, &out) == -INVALID);
        }
        in.nonce = nonce;
        for (size_t n = 0; authentic(v) && n < data.n; n += n < 40 ? 1 : 13) {
            in.data = str_take(data, n);
            CHECK(run(s, opener(s, v), &in, &out) == -INVALID);
        }
    }
}

/* Each algorithm with input of each length: what comes back is what went in. */
static void what_is_encrypted_comes_back(struct suite *s)
{
    static const struct {
        const char *algorithm;
        size_t key, nonce, step;
    } row[] = {
        { "A128CBC", 16, 16, 1 },        { "A192CBC", 24, 16, 1 },       { "A256CBC", 32, 16, 1 },
        { "A256CBC-NOPAD", 32, 16, 16 }, { "A192GCM", 24, 12, 1 },       { "A256GCMKW", 32, 12, 1 },
        { "A192CBC-HS384", 48, 16, 1 },  { "A256CBC-HS512", 64, 16, 1 }, { "C20PKW", 32, 12, 1 },
        { "XC20PKW", 32, 24, 1 },
    };
    char text[100], key[64], nonce[24];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (char)(i * 7 + 1);
    memset(nonce, 9, sizeof nonce);
    for (size_t i = 0; i < COUNT(row); i++) {
        key_bytes(s, "k", str_of(key, row[i].key));
        for (size_t n = 0; n < sizeof text; n += row[i].step) {
            struct crypto_output sealed, opened;
            struct crypto_input in = { .key = S("k"),
                                       .algorithm = str_c(row[i].algorithm),
                                       .data = str_of(text, n),
                                       .nonce = str_of(nonce, row[i].nonce) };
            bool ok = CHECK(run(s, crypto_ops_of(s)->encrypt, &in, &sealed) == 0);
            in.data = sealed.data;
            in.tag = sealed.tag;
            ok = ok && CHECK(run(s, crypto_ops_of(s)->decrypt, &in, &opened) == 0) &&
                 CHECK(same(opened.data, str_of(text, n)));
            if (!ok)
                printf("    %s, %zu bytes\n", row[i].algorithm, n);
        }
    }
}

static void keys_and_lengths_that_do_not_fit_are_refused(struct suite *s)
{
    static const struct {
        const char *algorithm;
        size_t key, nonce, data;
    } row[] = {
        { "A128GCM", 32, 12, 16 }, { "A256GCM", 16, 12, 16 },     { "A256GCM", 32, 16, 16 },
        { "A256GCM", 32, 0, 16 },  { "A256CBC", 32, 12, 16 },     { "A256CBC-NOPAD", 32, 16, 15 },
        { "A256KW", 32, 0, 8 },    { "A256KW", 32, 0, 17 },       { "A256KW", 16, 0, 16 },
        { "C20P", 16, 12, 16 },    { "XC20P", 32, 12, 16 },       { "A128CBC-HS256", 16, 16, 16 },
        { "a256gcm", 32, 12, 16 }, { "A512GCM", 32, 12, 16 },     { "", 32, 12, 16 },
        { "RSA-OAEP", 32, 0, 16 }, { "RSA-OAEP-256", 32, 0, 16 },
    };
    static const char zero[64];
    for (size_t i = 0; i < COUNT(row); i++) {
        struct crypto_output out;
        key_bytes(s, "k", str_of(zero, row[i].key));
        struct crypto_input in = { .key = S("k"),
                                   .algorithm = str_c(row[i].algorithm),
                                   .data = str_of(zero, row[i].data),
                                   .nonce = str_of(zero, row[i].nonce) };
        if (!CHECK(run(s, crypto_ops_of(s)->encrypt, &in, &out) == -INVALID))
            printf("    %s\n", row[i].algorithm);
    }
}

const struct suite_case crypto_cipher_cases[] = {
    { "published_examples_come_out", 0, NULL, published_examples_come_out },
    { "nothing_forged_is_opened", 0, NULL, nothing_forged_is_opened },
    { "cut_off_inputs_are_refused", 0, NULL, cut_off_inputs_are_refused },
    { "what_is_encrypted_comes_back", 0, NULL, what_is_encrypted_comes_back },
    { "keys_and_lengths_that_do_not_fit_are_refused", 0, NULL,
      keys_and_lengths_that_do_not_fit_are_refused },
};
const size_t n_crypto_cipher_cases = COUNT(crypto_cipher_cases);
