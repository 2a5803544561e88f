#include "packet.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { HOSTNAME_PART_MAX = 40, UNIQUE_IN = DNS_CLASS_IN | DNS_TOP_BIT };

/* ---- our records ---- */

/* The first label of the host's name, cut so that pid and port still fit into a label. */
static int short_hostname(const char *hostname)
{
    size_t n = strcspn(hostname, ".");
    return (int)min_size(n, HOSTNAME_PART_MAX);
}

static int add_names(struct mdns_service *s, const char *hostname, long pid)
{
    char label[DNS_LABEL_MAX + 1];
    dns_name_init(&s->instance);
    dns_name_init(&s->host);
    dns_name_init(&s->all);
    if (mdns_service_name(str_c(s->app_id), &s->type))
        return -INVALID;
    int n = snprintf(label, sizeof label, "%.*s:%ld", short_hostname(hostname), hostname, pid);
    if (dns_name_append(&s->instance, str_of(label, (size_t)n)) ||
        dns_name_append_name(&s->instance, &s->type))
        return -INVALID;
    n = snprintf(label, sizeof label, "%.*s-%ld-%u", short_hostname(hostname), hostname, pid,
                 s->self.port);
    if (dns_name_append(&s->host, str_of(label, (size_t)n)) ||
        dns_name_append(&s->host, S("local")))
        return -INVALID;
    return dns_name_append_dotted(&s->all, S("_services._dns-sd._udp.local"));
}

int mdns_service_init(struct mdns_service *s, const char *app_id, const char *hostname, long pid,
                      const char *ip, uint16_t port, struct error *err)
{
    *s = (struct mdns_service){ .app_id = app_id, .self = { .port = port } };
    if (inet_pton(AF_INET, ip, s->self.ip) == 1)
        s->self.ip_len = 4;
    else if (inet_pton(AF_INET6, ip, s->self.ip) == 1)
        s->self.ip_len = 16;
    else
        return fail(err, INVALID, NULL, "the host address '%s' is no IP address", ip);
    if (add_names(s, *hostname ? hostname : "host", pid) || strlen(app_id) > 255)
        return fail(err, INVALID, NULL,
                    "the app id '%s' makes no DNS name: at most %d bytes between dots", app_id,
                    DNS_LABEL_MAX);
    s->self.instance = mdns_instance_hash(&s->instance);
    return 0;
}

void mdns_service_place(struct mdns_service *s, const char *zone, const char *region)
{
    mdns_peer_place(&s->self, str_c(zone), str_c(region));
}

static void put_strings(struct buf *b, const struct mdns_service *s, uint16_t unique,
                        uint32_t ttl_s)
{
    char zone[PLACE_MAX + 8], region[PLACE_MAX + 8], lease[16];
    snprintf(zone, sizeof zone, "zone=%s", s->self.zone);
    snprintf(region, sizeof region, "region=%s", s->self.region);
    snprintf(lease, sizeof lease, "lease=%d", LEASE_S);
    str text[4] = { str_c(s->app_id), str_c(lease) };
    size_t n = 2;
    if (s->self.zone[0])
        text[n++] = str_c(zone);
    if (s->self.region[0])
        text[n++] = str_c(region);
    dns_put_txt(b, &s->instance, unique, ttl_s, text, n);
}

static void put_records(struct buf *b, const struct mdns_service *s, uint16_t unique,
                        uint32_t ttl_s)
{
    dns_put_ptr(b, &s->type, DNS_CLASS_IN, ttl_s, &s->instance);
    dns_put_srv(b, &s->instance, unique, ttl_s, s->self.port, &s->host);
    put_strings(b, s, unique, ttl_s);
    dns_put_ip(b, &s->host, unique, ttl_s, s->self.ip, s->self.ip_len);
    dns_put_ptr(b, &s->all, DNS_CLASS_IN, ttl_s, &s->type);
}

void mdns_service_put(struct buf *b, const struct mdns_service *s, uint32_t ttl_s)
{
    dns_put_header(b, 0, DNS_RESPONSE | DNS_AUTHORITATIVE, (struct dns_counts){ .answers = 5 });
    put_records(b, s, UNIQUE_IN, ttl_s);
}

void mdns_service_put_legacy(struct buf *b, const struct mdns_service *s, uint16_t id,
                             const struct dns_question *q)
{
    dns_put_header(b, id, DNS_RESPONSE | DNS_AUTHORITATIVE,
                   (struct dns_counts){ .questions = 1, .answers = 5 });
    dns_put_question(b, &q->name, q->type, q->class);
    put_records(b, s, DNS_CLASS_IN, LEGACY_TTL_S);
}

void mdns_query_put(struct buf *b, const struct dns_name *service)
{
    dns_put_header(b, 0, 0, (struct dns_counts){ .questions = 1 });
    dns_put_question(b, service, DNS_PTR, DNS_CLASS_IN);
}

/* ---- queries ---- */

static bool asks_for(const struct dns_question *q, const struct dns_name *name, enum dns_type a,
                     enum dns_type b)
{
    return (q->type == a || q->type == b || q->type == DNS_ANY) && dns_name_eq(&q->name, name);
}

static bool is_ours(const struct mdns_service *s, const struct dns_question *q)
{
    if (q->class != DNS_CLASS_IN && q->class != DNS_CLASS_ANY)
        return false;
    return asks_for(q, &s->type, DNS_PTR, DNS_PTR) || asks_for(q, &s->all, DNS_PTR, DNS_PTR) ||
           asks_for(q, &s->instance, DNS_SRV, DNS_TXT) || asks_for(q, &s->host, DNS_A, DNS_AAAA);
}

/* RFC 6762 section 7.1: what the querier holds for at least half of its time isn't repeated. */
static bool known(const struct mdns_service *s, const struct dns_record *r)
{
    return r->section == DNS_ANSWER && r->type == DNS_PTR && r->ttl >= SERVICE_TTL_S / 2 &&
           dns_name_eq(&r->name, &s->type) && dns_name_eq(&r->target, &s->instance);
}

static enum mdns_verdict take_query(struct mdns_packet *p, const struct mdns_service *s,
                                    struct dns_reader *r, bool mdns_port)
{
    struct dns_question q;
    bool wanted = false, browsed_only = true;
    int n;
    while ((n = dns_next_question(r, &q)) > 0) {
        if (!is_ours(s, &q))
            continue;
        browsed_only = browsed_only && dns_name_eq(&q.name, &s->type);
        wanted = true;
        p->question = q;
    }
    if (n < 0 || !wanted)
        return MDNS_NOTHING;
    bool has = false;
    while ((n = dns_next_record(r, &p->record[0])) > 0)
        has = has || known(s, &p->record[0]);
    if (n < 0 || (has && browsed_only))
        return MDNS_NOTHING;
    p->id = r->id;
    return mdns_port ? MDNS_ANSWER : MDNS_LEGACY;
}

/* ---- responses ---- */

static bool counts(const struct dns_record *r)
{
    return r->class == DNS_CLASS_IN &&
           (r->type == DNS_PTR || r->type == DNS_SRV || r->type == DNS_TXT || r->type == DNS_A ||
            r->type == DNS_AAAA);
}

static void take_response(struct mdns_packet *p, struct dns_reader *r, struct mdns_cache *c,
                          uint64_t now_ns)
{
    struct dns_question q;
    int got;
    while ((got = dns_next_question(r, &q)) > 0) {}
    if (got < 0)
        return;
    size_t n = 0;
    while (n < PACKET_RECORDS_MAX && (got = dns_next_record(r, &p->record[n])) > 0)
        if (counts(&p->record[n]))
            n++;
    if (got >= 0)
        mdns_cache_learn(c, p->record, n, now_ns);
}

enum mdns_verdict mdns_packet_take(struct mdns_packet *p, const struct mdns_service *s,
                                   struct mdns_cache *c, str datagram, bool mdns_port,
                                   uint64_t now_ns)
{
    struct dns_reader r;
    if (dns_reader_init(&r, datagram) || (r.flags & (DNS_OPCODE | DNS_RCODE)))
        return MDNS_NOTHING;
    if (!(r.flags & DNS_RESPONSE))
        return take_query(p, s, &r, mdns_port);
    if (mdns_port)
        take_response(p, &r, c, now_ns);
    return MDNS_NOTHING;
}
