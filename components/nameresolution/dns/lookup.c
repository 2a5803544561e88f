#include "lookup.h"

#include "base/mem.h"
#include "components/common/dns/dns.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>

enum { TARGETS_MAX = 64 };

struct query {
    const struct lookup *l;
    struct __res_state state;
    struct found *ret;
    struct error *err;
};

static bool parse_server(const char *text, struct sockaddr_in *ret)
{
    str host, port, all = str_c(text);
    char ip[INET_ADDRSTRLEN];
    int64_t number;
    if (!str_cut(all, ':', &host, &port) || host.n >= sizeof ip || !str_to_i64(port, &number) ||
        number < 1 || number > UINT16_MAX)
        return false;
    memcpy(ip, host.p, host.n);
    ip[host.n] = 0;
    *ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)number) };
    return inet_pton(AF_INET, ip, &ret->sin_addr) == 1;
}

bool lookup_server_ok(const char *server)
{
    struct sockaddr_in a;
    return parse_server(server, &a);
}

static int begin(struct query *q)
{
    memset(&q->state, 0, sizeof q->state);
    if (res_ninit(&q->state))
        return fail(q->err, UNAVAILABLE, NULL, "the system's resolver can't be set up");
    q->state.retrans = (int)q->l->timeout_s;
    q->state.retry = (int)q->l->tries;
    if (q->l->server[0] && parse_server(q->l->server, &q->state.nsaddr_list[0]))
        q->state.nscount = 1;
    return 0;
}

struct answer {
    struct dns_reader reader;
    unsigned char bytes[DNS_MESSAGE_MAX];
};

/* 1: there is an answer, its records to be read; 0: nothing of that name and type. */
static int ask(struct query *q, const char *name, enum dns_type type, struct answer *ret)
{
    struct dns_question question;
    int n = res_nquery(&q->state, name, DNS_CLASS_IN, type, ret->bytes, sizeof ret->bytes), r;
    if (n < 0 && (q->state.res_h_errno == HOST_NOT_FOUND || q->state.res_h_errno == NO_DATA))
        return 0;
    if (n < 0)
        return fail(q->err, UNAVAILABLE, NULL, "no DNS server answers for %s", name);
    r = dns_reader_init(&ret->reader, str_of(ret->bytes, min_size((size_t)n, sizeof ret->bytes)));
    while (!r && (r = dns_next_question(&ret->reader, &question)) > 0)
        r = 0;
    return r < 0 ? fail(q->err, UNAVAILABLE, NULL, "the answer for %s can't be read", name) : 1;
}

/* The next record of that type among the answers; what is broken ends them. */
static bool next(struct answer *a, enum dns_type type, struct dns_record *ret)
{
    while (dns_next_record(&a->reader, ret) > 0)
        if (ret->section == DNS_ANSWER && ret->type == type && ret->class == DNS_CLASS_IN)
            return true;
    return false;
}

static int add_addresses(struct query *q, const char *name, uint16_t port, enum dns_type type)
{
    struct answer *a = mem_alloc(sizeof *a);
    struct dns_record rec;
    char ip[INET6_ADDRSTRLEN];
    if (!a)
        return fail(q->err, EXHAUSTED, NULL, "out of memory");
    int r = ask(q, name, type, a);
    while (r > 0 && q->ret->n < LOOKUP_MAX && next(a, type, &rec))
        if (inet_ntop(type == DNS_A ? AF_INET : AF_INET6, rec.ip, ip, sizeof ip))
            snprintf(q->ret->address[q->ret->n++], LOOKUP_TEXT_MAX,
                     type == DNS_A ? "%s:%u" : "[%s]:%u", ip, port);
    mem_free(a);
    return r < 0 ? r : 0;
}

/* IPv6 addresses count where there are none of IPv4. */
static int add_host(struct query *q, const char *name, uint16_t port)
{
    size_t before = q->ret->n;
    int r = add_addresses(q, name, port, DNS_A);
    return r || q->ret->n > before ? r : add_addresses(q, name, port, DNS_AAAA);
}

struct target {
    char name[LOOKUP_NAME_MAX];
    uint16_t port;
};

/* False for the root, and for labels that can't be said in this form. */
static bool name_text(const struct dns_name *n, char ret[LOOKUP_NAME_MAX])
{
    size_t at = 0;
    while (at < n->len && n->wire[at]) {
        size_t len = n->wire[at];
        if (memchr(n->wire + at + 1, '.', len) || memchr(n->wire + at + 1, 0, len))
            return false;
        memcpy(ret + at, n->wire + at + 1, len);
        ret[at + len] = '.';
        at += len + 1;
    }
    ret[at] = 0;
    return at > 0;
}

static int add_services(struct query *q, const char *name)
{
    struct {
        struct answer answer;
        struct target target[TARGETS_MAX];
    } *w = mem_alloc(sizeof *w);
    struct dns_record rec;
    size_t n = 0;
    if (!w)
        return fail(q->err, EXHAUSTED, NULL, "out of memory");
    int r = ask(q, name, DNS_SRV, &w->answer);
    while (r > 0 && n < TARGETS_MAX && next(&w->answer, DNS_SRV, &rec)) {
        w->target[n].port = rec.port;
        n += rec.port && name_text(&rec.target, w->target[n].name);
    }
    for (size_t i = 0; i < n && r >= 0; i++)
        r = add_host(q, w->target[i].name, w->target[i].port);
    mem_free(w);
    return r < 0 ? r : 0;
}

int lookup_name(const struct lookup *l, const char *name, struct found *ret, struct error *err)
{
    struct query q = { .l = l, .ret = ret, .err = err };
    int r = begin(&q);
    if (r)
        return r;
    r = l->port ? add_host(&q, name, l->port) : add_services(&q, name);
    res_nclose(&q.state);
    return r;
}
