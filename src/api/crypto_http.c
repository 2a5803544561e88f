#include "api/request.h"
#include "block/crypto.h"

enum { ANSWER_MAX = 256 << 20 };

/* ---- the subtle APIs: one small message each, as protobuf's JSON form ---- */

/* Which member of the request and of the answer the data is. */
struct shape {
    enum crypto_op op;
    str camel, snake; /* of the request */
    str out;          /* of the answer */
    bool has_tag;     /* the request takes one */
};

CO static int begin(struct request *r, struct instance **ret, struct json *ret_v, struct error *err)
{
    int code = request_json(r, ret_v, err);
    return code < 0 ? code : crypto_find(r->b, r->part[0], ret, err);
}

static int read_input(struct request *r, struct json v, const struct shape *s,
                      struct crypto_input *in, struct error *err)
{
    *in = (struct crypto_input){ 0 };
    int code = request_text(r, v, S("keyName"), S("key_name"), &in->key, err);
    if (code >= 0)
        code = request_text(r, v, S("algorithm"), S("algorithm"), &in->algorithm, err);
    if (code >= 0)
        code = request_base64(r, v, s->camel, s->snake, &in->data, err);
    if (code >= 0)
        code = request_base64(r, v, S("nonce"), S("nonce"), &in->nonce, err);
    if (code >= 0)
        code = request_base64(r, v, S("associatedData"), S("associated_data"), &in->associated_data,
                              err);
    if (code >= 0 && s->has_tag)
        code = request_base64(r, v, S("tag"), S("tag"), &in->tag, err);
    return code;
}

/* What is empty is left out, as protobuf's JSON form wants. */
CO static void reply_output(struct request *r, str name, const struct crypto_output *out)
{
    AUTO(buf_done) struct buf text;
    buf_init(&text, ANSWER_MAX);
    struct json_w w;
    json_w_init(&w, &text, 0);
    json_w_object(&w);
    if (out->data.n) {
        json_w_key(&w, name);
        json_w_base64(&w, out->data);
    }
    if (out->tag.n) {
        json_w_key(&w, S("tag"));
        json_w_base64(&w, out->tag);
    }
    json_w_object_end(&w);
    reply_buf(r, 200, &text);
}

CO static void run(struct request *r, const struct shape *s)
{
    struct error err = { 0 };
    struct instance *provider;
    struct json v;
    struct crypto_input in;
    struct crypto_output out = { 0 };
    int code = begin(r, &provider, &v, &err);
    if (code >= 0)
        code = read_input(r, v, s, &in, &err);
    if (code >= 0)
        code = block_crypto_run(r->b, provider, s->op, &in, r->a, &out, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_output(r, s->out, &out);
}

CO void subtle_encrypt_route(struct request *r)
{
    run(r, &(struct shape){ CRYPTO_ENCRYPT, S("plaintext"), S("plaintext"), S("ciphertext"), 0 });
}

CO void subtle_decrypt_route(struct request *r)
{
    run(r, &(struct shape){ CRYPTO_DECRYPT, S("ciphertext"), S("ciphertext"), S("plaintext"), 1 });
}

CO void subtle_wrap_route(struct request *r)
{
    run(r, &(struct shape){ CRYPTO_WRAP, S("plaintextKey"), S("plaintext_key"), S("wrappedKey") });
}

CO void subtle_unwrap_route(struct request *r)
{
    run(r, &(struct shape){ CRYPTO_UNWRAP, S("wrappedKey"), S("wrapped_key"), S("plaintextKey"),
                            true });
}

CO void subtle_sign_route(struct request *r)
{
    run(r, &(struct shape){ CRYPTO_SIGN, S("digest"), S("digest"), S("signature"), false });
}

CO void subtle_verify_route(struct request *r)
{
    static const struct shape shape = { CRYPTO_SIGN, { "digest", 6 }, { "digest", 6 } };
    struct error err = { 0 };
    struct instance *provider;
    struct json v;
    struct crypto_input in;
    bool valid = false;
    int code = begin(r, &provider, &v, &err);
    if (code >= 0)
        code = read_input(r, v, &shape, &in, &err);
    if (code >= 0)
        code = request_base64(r, v, S("signature"), S("signature"), &in.tag, &err);
    if (code >= 0)
        code = block_crypto_verify(r->b, provider, &in, &valid, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_json(r, 200, valid ? S("{\"valid\":true}") : S("{}"));
}

/* "PEM", "JSON", or their numbers. */
static int read_format(struct request *r, struct json v, enum crypto_key_format *ret,
                       struct error *err)
{
    struct json f = request_field(v, S("format"), S("format"));
    int64_t number = -1;
    if (f.type == JSON_NONE || json_eq_str(f, S("PEM")))
        number = CRYPTO_KEY_PEM;
    else if (json_eq_str(f, S("JSON")))
        number = CRYPTO_KEY_JSON;
    else if (!json_i64(f, &number))
        number = -1;
    if (number != CRYPTO_KEY_PEM && number != CRYPTO_KEY_JSON)
        return fail(err, INVALID, "ERR_BAD_REQUEST", "invalid request: invalid key format");
    *ret = (enum crypto_key_format)number;
    return 0;
}

CO void subtle_get_key_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *provider;
    struct json v;
    enum crypto_key_format format = CRYPTO_KEY_PEM;
    str name, key = S("");
    int code = begin(r, &provider, &v, &err);
    if (code >= 0)
        code = read_format(r, v, &format, &err);
    if (code >= 0)
        code = request_text(r, v, S("name"), S("name"), &name, &err);
    if (code >= 0)
        code = block_crypto_get_key(r->b, provider, name, format, r->a, &key, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    AUTO(buf_done) struct buf text;
    buf_init(&text, MIB(1));
    struct json_w w;
    json_w_init(&w, &text, 0);
    json_w_object(&w);
    json_w_kv(&w, S("name"), name);
    json_w_kv(&w, S("publicKey"), key);
    json_w_object_end(&w);
    reply_buf(r, 200, &text);
}

/* ---- whole messages ---- */

enum { KEPT_MAX = 64 << 20, KEPT_MORE = 128 << 10 };

/* Most HTTP/1.1 clients don't read before they have sent all: what is ready is kept until then, as
 * far as there is room. Over HTTP/2 it streams. */
struct passing {
    struct request *r;
    struct buf kept;
    bool read_all;
};

static void passing_init(struct passing *p, struct request *r)
{
    uint64_t max = r->config->max_body_bytes ? r->config->max_body_bytes : KEPT_MAX;
    *p = (struct passing){ .r = r, .read_all = r->x->version == 20 };
    buf_init(&p->kept, (size_t)(max + max / 2048) + KEPT_MORE); /* a tag each 64 KiB, a header */
}

CO static int read_body(void *arg, str *ret, struct error *err)
{
    struct passing *p = arg;
    int code = http_read(p->r->x, ret);
    p->read_all = p->read_all || code <= 0;
    if (code == -RANGE)
        return fail(err, INVALID, "ERR_BODY_READ", "failed to read request body: stream too large");
    return code < 0 ? fail(err, (enum code) - code, "ERR_BODY_READ", "failed to read request body")
                    : code;
}

CO static int start(struct request *r)
{
    struct http_headers h;
    http_headers_init(&h, r->a);
    int code = http_headers_add(&h, S("Content-Type"), S("application/octet-stream"));
    return code < 0 ? code : http_reply_start(r->x, 200, &h, -1);
}

/* Until the answer begins a failure has its status. */
CO static int write_answer(void *arg, str data, struct error *err)
{
    struct passing *p = arg;
    if (!p->read_all) {
        buf_put(&p->kept, data);
        if (buf_ok(&p->kept))
            return 0;
        p->read_all = true; /* no room: from here on the client has to read as well */
    }
    int code = p->r->x->started ? 0 : start(p->r);
    if (code >= 0 && p->kept.len)
        code = http_reply_write(p->r->x, buf_str(&p->kept));
    if (code >= 0 && data.n)
        code = http_reply_write(p->r->x, data);
    buf_done(&p->kept);
    return code < 0 ? fail(err, (enum code) - code, NULL, "the caller has left") : 0;
}

CO static void finish(struct passing *p, int code, struct error *err)
{
    p->read_all = true;
    if (code >= 0) /* what is kept, or an empty message */
        code = write_answer(p, S(""), err);
    if (code < 0)
        reply_error(p->r->x, err);
    else
        (void)http_reply_end(p->r->x, NULL);
    buf_done(&p->kept);
}

static int needed_header(struct request *r, const char *name, str *ret, struct error *err)
{
    *ret = http_headers_get(&r->x->req.headers, str_c(name));
    return ret->n ? 0
                  : fail(err, INVALID, "ERR_BAD_REQUEST", "invalid request: missing header '%s'",
                         name);
}

static int read_options(struct request *r, struct encryption_options *o, struct error *err)
{
    struct http_headers *h = &r->x->req.headers;
    *o = (struct encryption_options){
        .decryption_key = http_headers_get(h, S("dapr-decryption-key-name")),
        .omit_key = str_truthy(http_headers_get(h, S("dapr-omit-decryption-key-name"))),
        .cipher = http_headers_get(h, S("dapr-data-encryption-cipher")),
    };
    int code = needed_header(r, "dapr-key-name", &o->key, err);
    return code < 0 ? code : needed_header(r, "dapr-key-wrap-algorithm", &o->algorithm, err);
}

CO void crypto_encrypt_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *provider;
    struct encryption_options o;
    struct passing p;
    struct crypto_stream s = { read_body, write_answer, &p };
    passing_init(&p, r);
    int code = crypto_find(r->b, r->part[0], &provider, &err);
    if (code >= 0)
        code = read_options(r, &o, &err);
    if (code >= 0)
        code = block_crypto_seal(r->b, provider, &o, &s, &err);
    finish(&p, code, &err);
}

CO void crypto_decrypt_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *provider;
    struct passing p;
    struct crypto_stream s = { read_body, write_answer, &p };
    passing_init(&p, r);
    str key = http_headers_get(&r->x->req.headers, S("dapr-key-name"));
    int code = crypto_find(r->b, r->part[0], &provider, &err);
    if (code >= 0)
        code = block_crypto_open(r->b, provider, key, &s, &err);
    finish(&p, code, &err);
}
