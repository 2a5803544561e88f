/* nameresolution.mdns without a network: what the bytes mean, and what is made of them. */
#include "components/nameresolution/mdns/packet.h"
#include "test/testing.h"

#include "base/id.h"

static struct mdns_packet packet;

static struct mdns_service service_of(const char *app, const char *ip, uint16_t port)
{
    struct mdns_service s;
    struct error err = { 0 };
    CHECK_OK(mdns_service_init(&s, app, "box.example.org", 77, ip, port, &err), "%s", err.text);
    return s;
}

static const struct mdns_service *us(void)
{
    static struct mdns_service s;
    s = service_of("us", "10.0.0.9", 9);
    return &s;
}

static struct mdns_app *track(struct mdns_cache *c, const char *app, uint64_t now)
{
    struct dns_name name;
    CHECK_OK(mdns_service_name(str_c(app), &name));
    struct mdns_app *a = mdns_cache_track(c, str_c(app), &name, now);
    REQUIRE(a != NULL);
    return a;
}

static enum mdns_verdict take(struct mdns_cache *c, const struct buf *b, bool mdns_port,
                              uint64_t now)
{
    return mdns_packet_take(&packet, us(), c, buf_str(b), mdns_port, now);
}

static void check_peer(const struct mdns_app *app, size_t i, const char *want)
{
    char text[PEER_TEXT_MAX];
    REQUIRE(i < app->n, "%zu of %zu", i, app->n);
    CHECK_STR(str_of(text, mdns_peer_print(&app->peer[i], text)), want);
}

/* ---- names ---- */

TEST(names_are_bounded_and_compared_without_case)
{
    struct dns_name a, b;
    char label[DNS_LABEL_MAX + 1];
    memset(label, 'x', sizeof label);
    dns_name_init(&a);
    CHECK_EQ(dns_name_append(&a, S("")), -RANGE);
    CHECK_EQ(dns_name_append(&a, str_of(label, sizeof label)), -RANGE);
    for (size_t i = 0; i < 3; i++)
        CHECK_OK(dns_name_append(&a, str_of(label, DNS_LABEL_MAX)));
    CHECK_EQ(a.len, 193);
    CHECK_OK(dns_name_append(&a, str_of(label, 61)));
    CHECK_EQ(a.len, DNS_NAME_MAX);
    CHECK_EQ(dns_name_append(&a, S("y")), -RANGE);
    CHECK_EQ(dns_name_append_name(&a, &a), -RANGE);

    dns_name_init(&a);
    dns_name_init(&b);
    CHECK_OK(dns_name_append_dotted(&a, S("My.App.local")));
    CHECK_OK(dns_name_append_dotted(&b, S("mY.aPP.LOCAL")));
    CHECK(dns_name_eq(&a, &b));
    CHECK_EQ(mdns_instance_hash(&a), mdns_instance_hash(&b));
    CHECK_EQ(dns_name_append_dotted(&b, S("a..b")), -RANGE);
}

/* ---- the reader ---- */

enum { HEAD = 12 };

/* A message with one answer whose name is the given bytes. */
static int read_named(str name, struct dns_record *rec)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, KIB(4));
    dns_put_header(&b, 0, DNS_RESPONSE, (struct dns_counts){ .answers = 1 });
    buf_put(&b, name);
    buf_put(&b, str_of("\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4", 14));
    struct dns_reader r;
    CHECK_OK(dns_reader_init(&r, buf_str(&b)));
    return dns_next_record(&r, rec);
}

TEST(broken_names_are_refused)
{
    static const struct {
        const char *name, *bytes;
        size_t n;
        int want;
    } row[] = {
        { "plain", "\1a\0", 3, 1 },
        { "root", "\0", 1, 1 },
        { "pointer to itself", "\xc0\x0c", 2, -INVALID },
        { "pointer into the header", "\xc0\x05", 2, -INVALID },
        { "pointer forward", "\xc0\x20", 2, -INVALID },
        { "pointer behind the end", "\xff\xff", 2, -INVALID },
        { "loop over a label", "\1a\xc0\x0c", 4, -INVALID },
        { "label type 01", "\x41 ", 2, -INVALID },
        { "label type 10", "\x81 ", 2, -INVALID },
        { "label too long for the message", "\x3f", 1, -INVALID },
    };
    EACH (row, r) {
        struct dns_record rec;
        CHECK_EQ(read_named(str_of(r->bytes, r->n), &rec), r->want, "%s", r->name);
    }
}

TEST(long_chain_of_pointers_ends)
{
    /* Each pointer leads to the one before, which is legal; the name gets too long instead. */
    AUTO(buf_done) struct buf b;
    buf_init(&b, DNS_MESSAGE_MAX);
    dns_put_header(&b, 0, DNS_RESPONSE, (struct dns_counts){ .answers = 300 });
    size_t before = 0;
    for (size_t i = 0; i < 300; i++) {
        size_t at = b.len;
        buf_put(&b, S("\1a"));
        if (before) {
            buf_putc(&b, (char)(0xc0 | before >> 8));
            buf_putc(&b, (char)before);
        } else {
            buf_putc(&b, 0);
        }
        before = at;
        buf_put(&b, str_of("\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4", 14));
    }
    struct dns_reader r;
    struct dns_record rec;
    CHECK_OK(dns_reader_init(&r, buf_str(&b)));
    int got, n = 0;
    while ((got = dns_next_record(&r, &rec)) > 0)
        n++;
    CHECK_EQ(got, -INVALID);
    CHECK_EQ(n, 127, "names up to 255 bytes");
}

TEST(every_cut_message_is_refused)
{
    AUTO(buf_done) struct buf b;
    struct mdns_service s = service_of("app", "192.0.2.1", 50002);
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put(&b, &s, 120);
    CHECK(buf_ok(&b));
    str whole = buf_str(&b);
    for (size_t n = 0; n <= whole.n; n++) {
        char *copy = mem_dup(whole.p, n); /* exact size, so that the sanitizer sees an overread */
        struct dns_reader r;
        struct dns_record rec;
        int got = dns_reader_init(&r, str_of(copy, n));
        while (got == 0 && (got = dns_next_record(&r, &rec)) > 0)
            got = 0;
        CHECK_EQ(got, n == whole.n ? 0 : -INVALID, "%zu of %zu bytes", n, whole.n);
        mem_free(copy);
        if (n == whole.n)
            break;
    }
}

/* The loop above ends at 0 both for "no more" and for "go on": count what is there. */
TEST(own_message_has_five_records)
{
    AUTO(buf_done) struct buf b;
    struct mdns_service s = service_of("app", "192.0.2.1", 50002);
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put(&b, &s, 120);
    struct dns_reader r;
    struct dns_record rec;
    uint16_t want[] = { DNS_PTR, DNS_SRV, DNS_TXT, DNS_A, DNS_PTR };
    CHECK_OK(dns_reader_init(&r, buf_str(&b)));
    EACH (want, w) {
        CHECK_EQ(dns_next_record(&r, &rec), 1);
        CHECK_EQ(rec.type, *w);
        CHECK_EQ(rec.ttl, 120);
    }
    CHECK_EQ(dns_next_record(&r, &rec), 0);
}

TEST(random_damage_changes_nothing_but_answers)
{
    struct mdns_cache c;
    mdns_cache_init(&c);
    track(&c, "app", 1);
    AUTO(buf_done) struct buf b;
    struct mdns_service s = service_of("app", "192.0.2.1", 50002);
    for (size_t i = 0; i < 20000; i++) {
        buf_init(&b, DNS_MESSAGE_MAX);
        if (i & 1)
            mdns_service_put(&b, &s, 120);
        else
            mdns_query_put(&b, &us()->type);
        for (size_t k = id_random() % 4; k > 0; k--)
            b.p[id_random() % b.len] = (char)id_random();
        char *copy = mem_dup(b.p, b.len);
        (void)mdns_packet_take(&packet, us(), &c, str_of(copy, b.len), true, i);
        mem_free(copy);
        buf_done(&b);
    }
    CHECK(map_count(&c.apps) == 1);
    mdns_cache_done(&c);
}

/* ---- what zeroconf, which daprd uses, sends: names compressed, SRV before PTR ---- */

static const char daprd_announcement[] = "\0\0\x84\0\0\0\0\5\0\0\0\0"
                                         "\7host:42\5order\5local\0"
                                         "\0\x21\x80\1\0\0\x0c\x80\0\x0d\0\0\0\0\xc3\x52"
                                         "\4host\xc0\x1a"
                                         "\xc0\x0c\0\x10\x80\1\0\0\x0c\x80\0\6\5order"
                                         "\xc0\x14\0\x0c\0\1\0\0\x0c\x80\0\2\xc0\x0c"
                                         "\x09_services\7_dns-sd\4_udp\xc0\x1a"
                                         "\0\x0c\0\1\0\0\x0c\x80\0\2\xc0\x14"
                                         "\xc0\x31\0\1\x80\1\0\0\0\x78\0\4\xc0\0\2\7";

TEST(announcement_of_daprd_is_learnt)
{
    struct mdns_cache c;
    AUTO(buf_done) struct buf b;
    buf_init(&b, KIB(1));
    buf_put(&b, str_of(daprd_announcement, sizeof daprd_announcement - 1));
    mdns_cache_init(&c);
    struct mdns_app *app = track(&c, "order", 1);
    CHECK_EQ(take(&c, &b, true, 1), MDNS_NOTHING);
    CHECK_EQ(app->n, 1);
    check_peer(app, 0, "192.0.2.7:50002");
    CHECK_EQ(mdns_cache_fresh(app, SEC(CACHE_TTL_S)), 1);
    CHECK_EQ(mdns_cache_fresh(app, 1 + SEC(CACHE_TTL_S)), 0, "its TTL of 3200 s is cut");
    mdns_cache_done(&c);
}

/* ---- learning ---- */

static void announce(struct mdns_cache *c, const char *app, const char *ip, uint16_t port,
                     uint32_t ttl, bool mdns_port, uint64_t now)
{
    AUTO(buf_done) struct buf b;
    struct mdns_service s = service_of(app, ip, port);
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put(&b, &s, ttl);
    CHECK_EQ(take(c, &b, mdns_port, now), MDNS_NOTHING);
}

TEST(only_what_was_asked_for_is_kept)
{
    struct mdns_cache c;
    mdns_cache_init(&c);
    announce(&c, "app", "192.0.2.1", 1, 120, true, 1);
    CHECK_EQ(map_count(&c.apps), 0);
    struct mdns_app *app = track(&c, "app", 1);
    announce(&c, "app", "192.0.2.1", 1, 120, false, 1);
    CHECK_EQ(app->n, 0, "a response from another port is ignored");
    announce(&c, "other", "192.0.2.1", 1, 120, true, 1);
    CHECK_EQ(app->n, 0);
    announce(&c, "app", "224.0.0.1", 1, 120, true, 1);
    announce(&c, "app", "0.0.0.0", 1, 120, true, 1);
    announce(&c, "app", "192.0.2.1", 0, 120, true, 1);
    CHECK_EQ(app->n, 0, "no address that can't be dialled");
    announce(&c, "app", "192.0.2.1", 1, 120, true, 1);
    announce(&c, "app", "192.0.2.1", 1, 120, true, 2);
    announce(&c, "app", "2001:db8::1", 2, 120, true, 2);
    CHECK_EQ(app->n, 2, "the same one twice is one");
    check_peer(app, 1, "[2001:db8::1]:2");
    mdns_cache_done(&c);
}

TEST(short_ttl_counts_and_goodbye_removes)
{
    struct mdns_cache c;
    mdns_cache_init(&c);
    struct mdns_app *app = track(&c, "app", 1);
    announce(&c, "app", "192.0.2.1", 1, 5, true, 1);
    CHECK_EQ(mdns_cache_fresh(app, SEC(5)), 1);
    CHECK_EQ(mdns_cache_fresh(app, SEC(6)), 0);
    announce(&c, "app", "192.0.2.1", 1, 120, true, 1);
    announce(&c, "app", "192.0.2.1", 2, 120, true, 1);
    announce(&c, "app", "192.0.2.1", 1, 0, true, 2);
    CHECK_EQ(mdns_cache_fresh(app, 2), 1);
    check_peer(app, 0, "192.0.2.1:2");
    mdns_cache_done(&c);
}

TEST(silence_longer_than_the_lease_is_the_end)
{
    struct mdns_cache c;
    mdns_cache_init(&c);
    struct mdns_app *app = track(&c, "app", 1);
    announce(&c, "app", "192.0.2.1", 1, SERVICE_TTL_S, true, 1);
    CHECK_EQ(mdns_cache_fresh(app, SEC(LEASE_S)), 1);
    CHECK_EQ(mdns_cache_fresh(app, SEC(LEASE_S) + 2), 0);
    mdns_cache_done(&c);
}

TEST(zone_and_region_are_learnt)
{
    struct mdns_cache c;
    AUTO(buf_done) struct buf b;
    struct mdns_service s = service_of("app", "192.0.2.1", 1);
    mdns_service_place(&s, "a", "eu-1");
    mdns_cache_init(&c);
    struct mdns_app *app = track(&c, "app", 1);
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put(&b, &s, 120);
    CHECK_EQ(take(&c, &b, true, 1), MDNS_NOTHING);
    REQUIRE(app->n == 1);
    CHECK_TEXT(app->peer[0].zone, "a");
    CHECK_TEXT(app->peer[0].region, "eu-1");
    char name[PLACE_MAX + 1];
    memset(name, 'z', sizeof name);
    mdns_peer_place(&app->peer[0], str_of(name, PLACE_MAX), str_of(name, PLACE_MAX - 1));
    CHECK_TEXT(app->peer[0].zone, "", "too long");
    CHECK_EQ(strlen(app->peer[0].region), PLACE_MAX - 1);
    mdns_cache_done(&c);
}

/* A printer may be called like an app. */
TEST(service_of_another_kind_is_ignored)
{
    struct mdns_cache c;
    AUTO(buf_done) struct buf b;
    struct mdns_service s = service_of("app", "192.0.2.1", 1);
    mdns_cache_init(&c);
    struct mdns_app *app = track(&c, "app", 1);
    s.app_id = "note=ink";
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put(&b, &s, 120);
    CHECK_EQ(take(&c, &b, true, 1), MDNS_NOTHING);
    CHECK_EQ(app->n, 0);
    mdns_cache_done(&c);
}

TEST(full_app_keeps_what_it_has)
{
    struct mdns_cache c;
    mdns_cache_init(&c);
    struct mdns_app *app = track(&c, "app", 1);
    for (uint16_t port = 1; port <= CACHE_PEERS_MAX + 10; port++)
        announce(&c, "app", "192.0.2.1", port, 120, true, 1);
    CHECK_EQ(app->n, CACHE_PEERS_MAX);
    check_peer(app, CACHE_PEERS_MAX - 1, "192.0.2.1:64");
    mdns_cache_done(&c);
}

TEST(app_not_asked_for_longest_goes_first)
{
    struct mdns_cache c;
    mdns_cache_init(&c);
    char name[16];
    for (unsigned i = 0; i < CACHE_APPS_MAX; i++) {
        snprintf(name, sizeof name, "app%u", i);
        track(&c, name, 100 + i);
    }
    struct mdns_app *waited_for = track(&c, "app1", 50);
    waited_for->n_waiting = 1;
    track(&c, "app0", 9999);
    track(&c, "new", 10000);
    CHECK_EQ(map_count(&c.apps), CACHE_APPS_MAX);
    struct dns_name n;
    uint8_t key[DNS_NAME_MAX];
    CHECK_OK(mdns_service_name(S("app2"), &n));
    CHECK(!map_has(&c.apps, dns_name_key(&n, key)), "app2 was the oldest without a waiter");
    CHECK_OK(mdns_service_name(S("app1"), &n));
    CHECK(map_has(&c.apps, dns_name_key(&n, key)));
    waited_for->n_waiting = 0;
    mdns_cache_done(&c);
}

/* ---- answering ---- */

static enum mdns_verdict ask(const struct dns_name *name, uint16_t type, uint16_t class,
                             bool mdns_port, const struct mdns_service *known, uint32_t known_ttl)
{
    struct mdns_cache c;
    AUTO(buf_done) struct buf b;
    buf_init(&b, DNS_MESSAGE_MAX);
    dns_put_header(&b, 7, 0, (struct dns_counts){ .questions = 1, .answers = known ? 1 : 0 });
    dns_put_question(&b, name, type, class);
    if (known)
        dns_put_ptr(&b, &known->type, DNS_CLASS_IN, known_ttl, &known->instance);
    mdns_cache_init(&c);
    enum mdns_verdict v = take(&c, &b, mdns_port, 1);
    mdns_cache_done(&c);
    return v;
}

TEST(queries_for_us_are_answered)
{
    const struct mdns_service *s = us();
    struct mdns_service other = service_of("them", "10.0.0.8", 8);
    enum { IN = DNS_CLASS_IN, UNICAST = DNS_CLASS_IN | DNS_TOP_BIT };
    CHECK_EQ(ask(&s->type, DNS_PTR, IN, true, NULL, 0), MDNS_ANSWER);
    CHECK_EQ(ask(&s->type, DNS_ANY, IN, true, NULL, 0), MDNS_ANSWER);
    CHECK_EQ(ask(&s->type, DNS_PTR, UNICAST, true, NULL, 0), MDNS_ANSWER);
    CHECK_EQ(ask(&s->type, DNS_PTR, IN, false, NULL, 0), MDNS_LEGACY);
    CHECK_EQ(ask(&s->instance, DNS_SRV, IN, true, NULL, 0), MDNS_ANSWER);
    CHECK_EQ(ask(&s->host, DNS_A, IN, true, NULL, 0), MDNS_ANSWER);
    CHECK_EQ(ask(&s->all, DNS_PTR, IN, true, NULL, 0), MDNS_ANSWER);
    CHECK_EQ(ask(&s->type, DNS_A, IN, true, NULL, 0), MDNS_NOTHING);
    CHECK_EQ(ask(&s->type, DNS_PTR, 3, true, NULL, 0), MDNS_NOTHING);
    CHECK_EQ(ask(&other.type, DNS_PTR, IN, true, NULL, 0), MDNS_NOTHING);
    CHECK_EQ(ask(&s->type, DNS_PTR, IN, true, s, 60), MDNS_NOTHING, "known for long enough");
    CHECK_EQ(ask(&s->type, DNS_PTR, IN, true, s, 59), MDNS_ANSWER);
    CHECK_EQ(ask(&s->type, DNS_PTR, IN, true, &other, 120), MDNS_ANSWER, "another's is known");
    CHECK_EQ(ask(&s->instance, DNS_SRV, IN, true, s, 120), MDNS_ANSWER, "SRV isn't known");
}

TEST(legacy_querier_gets_its_question_back)
{
    AUTO(buf_done) struct buf b;
    const struct mdns_service *s = us();
    CHECK_EQ(ask(&s->type, DNS_PTR, DNS_CLASS_IN, false, NULL, 0), MDNS_LEGACY);
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put_legacy(&b, s, packet.id, &packet.question);
    struct dns_reader r;
    struct dns_question q;
    struct dns_record rec;
    CHECK_OK(dns_reader_init(&r, buf_str(&b)));
    CHECK_EQ(r.id, 7);
    CHECK_EQ(dns_next_question(&r, &q), 1);
    CHECK(dns_name_eq(&q.name, &s->type));
    CHECK_EQ(dns_next_question(&r, &q), 0);
    CHECK_EQ(dns_next_record(&r, &rec), 1);
    CHECK_EQ(rec.ttl, LEGACY_TTL_S);
    CHECK_EQ(dns_next_record(&r, &rec), 1);
    CHECK(!rec.flush, "no cache-flush bit");
}

TEST(service_says_what_is_wrong_with_it)
{
    struct mdns_service s;
    struct error err = { 0 };
    CHECK_EQ(mdns_service_init(&s, "app", "h", 1, "localhost", 1, &err), -INVALID);
    CHECK(strstr(err.text, "'localhost' is no IP address"), "%s", err.text);
    err = (struct error){ 0 };
    char label[80];
    memset(label, 'x', sizeof label);
    label[sizeof label - 1] = 0;
    CHECK_EQ(mdns_service_init(&s, label, "h", 1, "::1", 1, &err), -INVALID);
    CHECK(strstr(err.text, "makes no DNS name"), "%s", err.text);
    CHECK_EQ(mdns_service_init(&s, "app", label, 4194304, "::1", 65535, &err), 0, "long hostname");
    CHECK_EQ(mdns_service_init(&s, "app", "", 1, "::1", 1, &err), 0, "no hostname");
}

TEST(no_allocation_failure_hurts)
{
    FAIL_EACH_ALLOC(n)
    {
        struct mdns_cache c;
        struct dns_name name;
        mdns_cache_init(&c);
        CHECK_OK(mdns_service_name(S("app"), &name));
        struct mdns_app *app = mdns_cache_track(&c, S("app"), &name, 1);
        CHECK((app == NULL) == test_alloc_failed(n), "allocation %zu", n);
        mdns_cache_done(&c);
    }
}
