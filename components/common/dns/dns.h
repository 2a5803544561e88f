/* dns.h — the part of the DNS message format (RFC 1035, 6762) that service discovery needs.
 * Owner:  the caller; a reader borrows the datagram, names are copied out of it.
 * Thread: any; pure.   Limits: names 255 bytes, labels 63, DNS_ENTRIES_MAX entries a message.
 * Failure: -INVALID for anything that isn't well-formed to the byte; no datagram can crash or loop.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum { DNS_NAME_MAX = 255, DNS_LABEL_MAX = 63, DNS_MESSAGE_MAX = 9000, DNS_ENTRIES_MAX = 512 };
enum dns_type {
    DNS_A = 1,
    DNS_PTR = 12,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_ANY = 255,
};
enum { DNS_CLASS_IN = 1, DNS_CLASS_ANY = 255, DNS_TOP_BIT = 0x8000 };
enum { DNS_RESPONSE = 0x8000, DNS_AUTHORITATIVE = 0x0400, DNS_OPCODE = 0x7800, DNS_RCODE = 0x000f };

/* Labels with their length bytes, the root's 0 at the end. */
struct dns_name {
    uint8_t len; /* of wire; 0 = no name */
    uint8_t wire[DNS_NAME_MAX];
};

/* The root name: append labels in front-to-back order. */
void dns_name_init(struct dns_name *n);
int dns_name_append(struct dns_name *n, str label) WUR; /* -RANGE: empty, or too long */
/* Each part of "a.b" as a label. */
int dns_name_append_dotted(struct dns_name *n, str text) WUR;
/* All labels of tail behind those of n. */
int dns_name_append_name(struct dns_name *n, const struct dns_name *tail) WUR;
bool dns_name_eq(const struct dns_name *a, const struct dns_name *b); /* ASCII case is ignored */
/* Equal bytes for equal names, in ret. */
str dns_name_key(const struct dns_name *n, uint8_t ret[DNS_NAME_MAX]);

/* ---- reading ---- */

enum dns_section { DNS_QUESTION, DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL, DNS_SECTIONS };

struct dns_reader {
    str message;
    size_t at;
    uint16_t id, flags;
    uint16_t left[DNS_SECTIONS]; /* entries not read yet */
};

struct dns_question {
    struct dns_name name;
    uint16_t type, class; /* without the top bit */
    bool unicast;         /* the top bit: RFC 6762 section 5.4 */
};

struct dns_record {
    struct dns_name name;
    enum dns_section section;
    uint16_t type, class;   /* without the top bit */
    bool flush;             /* the top bit: RFC 6762 section 10.2 */
    uint32_t ttl;           /* seconds */
    uint16_t port;          /* SRV */
    struct dns_name target; /* PTR, SRV */
    uint8_t ip[16];         /* A (4), AAAA (16) */
    str data;               /* the record's bytes, borrowed from the message */
};

int dns_reader_init(struct dns_reader *r, str message) WUR;
/* All questions first. 1 and an entry, 0 when there is none left, -INVALID. After the last record:
 * 0 only if the message ends there. */
int dns_next_question(struct dns_reader *r, struct dns_question *ret) WUR;
int dns_next_record(struct dns_reader *r, struct dns_record *ret) WUR;
/* Walks the strings of a TXT record's data; check before with dns_next_record(), which refuses
 * broken ones. */
bool dns_txt_next(str *data, str *ret);

/* ---- writing, without compression; failures stay in the buffer (buf_ok()) ---- */

struct dns_counts {
    uint16_t questions, answers, authority, additional;
};
void dns_put_header(struct buf *b, uint16_t id, uint16_t flags, struct dns_counts counts);
void dns_put_question(struct buf *b, const struct dns_name *name, uint16_t type, uint16_t class);
void dns_put_ptr(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                 const struct dns_name *target);
void dns_put_srv(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                 uint16_t port, const struct dns_name *target);
/* Strings of at most 255 bytes each. */
void dns_put_txt(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                 const str *text, size_t n);
/* ip_len 4 = A, 16 = AAAA. */
void dns_put_ip(struct buf *b, const struct dns_name *name, uint16_t class, uint32_t ttl,
                const uint8_t *ip, size_t ip_len);
