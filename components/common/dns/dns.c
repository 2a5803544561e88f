#include "components/common/dns/dns.h"

enum { HEADER_LEN = 12, POINTER = 0xc0 };

/* ---- names ---- */

void dns_name_init(struct dns_name *n)
{
    n->len = 1;
    n->wire[0] = 0;
}

int dns_name_append(struct dns_name *n, str label)
{
    if (label.n == 0 || label.n > DNS_LABEL_MAX || n->len + label.n + 1 > DNS_NAME_MAX)
        return -RANGE;
    uint8_t *at = n->wire + n->len - 1; /* over the root's 0 */
    *at = (uint8_t)label.n;
    memcpy(at + 1, label.p, label.n);
    at[1 + label.n] = 0;
    n->len = (uint8_t)(n->len + label.n + 1);
    return 0;
}

int dns_name_append_dotted(struct dns_name *n, str text)
{
    str rest = text, label;
    bool more;
    do {
        more = str_cut(rest, '.', &label, &rest);
        int r = dns_name_append(n, label);
        if (r)
            return r;
    } while (more);
    return 0;
}

int dns_name_append_name(struct dns_name *n, const struct dns_name *tail)
{
    if (n->len - 1 + tail->len > DNS_NAME_MAX)
        return -RANGE;
    memcpy(n->wire + n->len - 1, tail->wire, tail->len);
    n->len = (uint8_t)(n->len - 1 + tail->len);
    return 0;
}

/* Length bytes are at most 63 and so no letters: the whole wire form can be folded. */
static uint8_t fold(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (fold(a->wire[i]) != fold(b->wire[i]))
            return false;
    return true;
}

str dns_name_key(const struct dns_name *n, uint8_t ret[DNS_NAME_MAX])
{
    for (size_t i = 0; i < n->len; i++)
        ret[i] = fold(n->wire[i]);
    return str_of(ret, n->len);
}

/* ---- reading ---- */

static const uint8_t *bytes(const struct dns_reader *r)
{
    return (const uint8_t *)r->message.p;
}

static bool have(const struct dns_reader *r, size_t n)
{
    return r->message.n - r->at >= n;
}

static uint16_t get16(struct dns_reader *r)
{
    const uint8_t *p = bytes(r) + r->at;
    r->at += 2;
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(struct dns_reader *r)
{
    uint32_t high = get16(r);
    return high << 16 | get16(r);
}

/* Reads a name at r->at and moves on behind it. A pointer must lead to before the piece that holds
 * it, so each jump goes strictly back and the walk ends. */
static int read_name(struct dns_reader *r, struct dns_name *ret)
{
    const uint8_t *p = bytes(r);
    size_t at = r->at, piece = r->at, end = 0; /* end: behind the first pointer */
    dns_name_init(ret);
    for (;;) {
        if (at >= r->message.n)
            return -INVALID;
        uint8_t len = p[at];
        if ((len & POINTER) == POINTER) {
            if (at + 2 > r->message.n)
                return -INVALID;
            size_t to = (size_t)(len & ~POINTER) << 8 | p[at + 1];
            if (to < HEADER_LEN || to >= piece)
                return -INVALID;
            if (!end)
                end = at + 2;
            at = piece = to;
            continue;
        }
        if (len > DNS_LABEL_MAX || at + 1 + len > r->message.n)
            return -INVALID;
        at += 1 + (size_t)len;
        if (len == 0)
            break;
        if (dns_name_append(ret, str_of(p + at - len, len)))
            return -INVALID;
    }
    r->at = end ? end : at;
    return 0;
}

int dns_reader_init(struct dns_reader *r, str message)
{
    *r = (struct dns_reader){ .message = message };
    if (message.n < HEADER_LEN || message.n > DNS_MESSAGE_MAX)
        return -INVALID;
    r->id = get16(r);
    r->flags = get16(r);
    size_t total = 0;
    for (size_t i = 0; i < DNS_SECTIONS; i++)
        total += r->left[i] = get16(r);
    return total > DNS_ENTRIES_MAX ? -INVALID : 0;
}

int dns_next_question(struct dns_reader *r, struct dns_question *ret)
{
    if (r->left[DNS_QUESTION] == 0)
        return 0;
    if (read_name(r, &ret->name) || !have(r, 4))
        return -INVALID;
    ret->type = get16(r);
    uint16_t class = get16(r);
    ret->class = class & (uint16_t)~DNS_TOP_BIT;
    ret->unicast = class & DNS_TOP_BIT;
    r->left[DNS_QUESTION]--;
    return 1;
}

static bool txt_ok(str data)
{
    for (size_t at = 0; at < data.n;) {
        at += 1 + (size_t)(uint8_t)data.p[at];
        if (at > data.n)
            return false;
    }
    return true;
}

/* A name that must fill the record from `skip` to its end. */
static int data_name(const struct dns_reader *r, size_t start, size_t skip, size_t len,
                     struct dns_name *ret)
{
    if (len <= skip)
        return -INVALID;
    struct dns_reader in = *r; /* pointers may lead anywhere before */
    in.at = start + skip;
    in.message.n = start + len;
    if (read_name(&in, ret) || in.at != start + len)
        return -INVALID;
    return 0;
}

static int read_data(struct dns_reader *r, size_t len, struct dns_record *ret)
{
    size_t start = r->at;
    const uint8_t *p = bytes(r) + start;
    ret->data = str_of(p, len);
    r->at += len;
    switch (ret->type) {
    case DNS_A:
    case DNS_AAAA:
        if (len != (ret->type == DNS_A ? 4 : 16))
            return -INVALID;
        memcpy(ret->ip, p, len);
        return 0;
    case DNS_PTR:
        return data_name(r, start, 0, len, &ret->target);
    case DNS_SRV:
        if (len < 7)
            return -INVALID;
        ret->port = (uint16_t)(p[4] << 8 | p[5]);
        return data_name(r, start, 6, len, &ret->target);
    case DNS_TXT:
        return txt_ok(ret->data) ? 0 : -INVALID;
    default:
        return 0;
    }
}

int dns_next_record(struct dns_reader *r, struct dns_record *ret)
{
    PRE(r->left[DNS_QUESTION] == 0);
    enum dns_section s = DNS_ANSWER;
    while (s < DNS_SECTIONS && r->left[s] == 0)
        s++;
    if (s == DNS_SECTIONS)
        return r->at == r->message.n ? 0 : -INVALID;
    if (read_name(r, &ret->name) || !have(r, 10))
        return -INVALID;
    ret->section = s;
    ret->type = get16(r);
    uint16_t class = get16(r);
    ret->class = class & (uint16_t)~DNS_TOP_BIT;
    ret->flush = class & DNS_TOP_BIT;
    ret->ttl = get32(r);
    ret->port = 0;
    dns_name_init(&ret->target);
    size_t len = get16(r);
    if (!have(r, len) || read_data(r, len, ret))
        return -INVALID;
    r->left[s]--;
    return 1;
}

bool dns_txt_next(str *data, str *ret)
{
    if (data->n == 0)
        return false;
    size_t len = (uint8_t)data->p[0];
    *ret = str_take(str_skip(*data, 1), len);
    *data = str_skip(*data, 1 + len);
    return true;
}

/* ---- writing ---- */

static void put16(struct buf *b, uint16_t v)
{
    buf_putc(b, (char)(v >> 8));
    buf_putc(b, (char)v);
}

static void put32(struct buf *b, uint32_t v)
{
    put16(b, (uint16_t)(v >> 16));
    put16(b, (uint16_t)v);
}

static void put_name(struct buf *b, const struct dns_name *n)
{
    buf_put(b, str_of(n->wire, n->len));
}

void dns_put_header(struct buf *b, uint16_t id, uint16_t flags, struct dns_counts counts)
{
    put16(b, id);
    put16(b, flags);
    put16(b, counts.questions);
    put16(b, counts.answers);
    put16(b, counts.authority);
    put16(b, counts.additional);
}

void dns_put_question(struct buf *b, const struct dns_name *name, uint16_t type, uint16_t class)
{
    put_name(b, name);
    put16(b, type);
    put16(b, class);
}

static void put_head(struct buf *b, const struct dns_name *name, uint16_t type, uint16_t class,
                     uint32_t ttl, size_t len)
{
    dns_put_question(b, name, type, class);
    put32(b, ttl);
    put16(b, (uint16_t)len);
}

void dns_put_ptr(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                 const struct dns_name *target)
{
    put_head(b, name, DNS_PTR, class, ttl, target->len);
    put_name(b, target);
}

void dns_put_srv(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                 uint16_t port, const struct dns_name *target)
{
    put_head(b, name, DNS_SRV, class, ttl, 6 + (size_t)target->len);
    put16(b, 0); /* priority */
    put16(b, 0); /* weight */
    put16(b, port);
    put_name(b, target);
}

void dns_put_txt(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                 const str *text, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        PRE(text[i].n <= 255);
        len += 1 + text[i].n;
    }
    put_head(b, name, DNS_TXT, class, ttl, len);
    for (size_t i = 0; i < n; i++) {
        buf_putc(b, (char)text[i].n);
        buf_put(b, text[i]);
    }
}

void dns_put_ip(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                const uint8_t *ip, size_t ip_len)
{
    PRE(ip_len == 4 || ip_len == 16);
    put_head(b, name, ip_len == 4 ? DNS_A : DNS_AAAA, class, ttl, ip_len);
    buf_put(b, str_of(ip, ip_len));
}
