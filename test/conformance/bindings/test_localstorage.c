/* bindings.localstorage: files below a folder, and no way out of it. */
#include "fixture.h"

#include "base/id.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

struct setup {
    struct fixture f;
    struct arena a;
    const char *root;
};

CO static void setup_open(struct setup *s)
{
    char name[40];
    arena_init(&s->a, MIB(16));
    snprintf(name, sizeof name, "files-%016llx/deep/er", (unsigned long long)id_random());
    s->root = fixture_file(&s->a, name, NULL);
    const char *md[] = { "rootPath", s->root, NULL };
    CHECK_OK(fixture_open(&s->f, "bindings.localstorage", md, NULL), "%s", s->f.err.text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

CO static void setup_close(struct setup *s)
{
    fixture_close(&s->f);
    char *top = arena_cstr(&s->a, str_c(s->root));
    *strstr(top, "/deep") = 0;
    CHECK_EQ(nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    arena_done(&s->a);
}

struct answer {
    int result;
    str data;
    struct error err;
};

/* name NULL: no fileName. */
CO static struct answer invoke(struct setup *s, const char *operation, const char *name,
                               const char *data)
{
    const char *md[] = { name ? "fileName" : NULL, name, NULL };
    struct binding_result ret = { 0 };
    struct answer a = { 0 };
    a.result = CONTAINER_OF(s->f.type, struct binding_ops, t)
                   ->invoke(s->f.self, str_c(operation), str_c(data), fixture_kvs(&s->a, md), &s->a,
                            &ret, &a.err);
    CHECK_EQ(a.result, -(int)a.err.code);
    a.data = ret.data;
    return a;
}

CO static void check_file(struct setup *s, const char *name, const char *want)
{
    struct answer a = invoke(s, "get", name, "");
    CHECK_OK(a.result, "%s: %s", name, a.err.text);
    CHECK_STR(a.data, want, "%s", name);
}

TEST_LOOP(what_is_created_is_there)
{
    static const struct {
        const char *name, *as, *data, *want;
    } row[] = {
        { "plain", "plain", "raw bytes!", "raw bytes!" },
        { "a JSON string loses its quotes", "string", "\"text \\u0041\"", "text A" },
        { "base64 is decoded", "base64", "\"aGVsbG8gd29ybGQ=\"", "hello world" },
        { "an object stays", "object", "{\"a\": 1}", "{\"a\": 1}" },
        { "nothing", "empty", "", "" },
        { "below folders", "a/b/c.txt", "x y", "x y" },
        { "with a space and umlaut", " a \xc3\xa4/\" b", "x y", "x y" },
    };
    struct setup s;
    setup_open(&s);
    EACH (row, r) {
        struct answer a = invoke(&s, "create", r->as, r->data);
        CHECK_OK(a.result, "%s: %s", r->name, a.err.text);
        check_file(&s, r->as, r->want);
    }
    CHECK_STR(invoke(&s, "create", "a/b/c.txt", "new one").data, "{\"fileName\":\"a/b/c.txt\"}");
    check_file(&s, "a/b/c.txt", "new one");
    setup_close(&s);
}

TEST_LOOP(without_a_name_one_is_made)
{
    struct setup s;
    setup_open(&s);
    struct answer a = invoke(&s, "create", NULL, "some text"), b = invoke(&s, "create", "", "x y");
    CHECK_OK(a.result, "%s", a.err.text);
    CHECK(str_starts(a.data, S("{\"fileName\":\"")) && a.data.n == 13 + UUID_LEN + 2, STR_FMT,
          STR_ARG(a.data));
    CHECK(!str_eq(a.data, b.data));
    char *name = arena_cstr(&s.a, str_take(str_skip(a.data, 13), UUID_LEN));
    check_file(&s, name, "some text");
    static const char *const operation[] = { "get", "delete" };
    EACH (operation, o)
        CHECK_EQ(invoke(&s, *o, NULL, "").result, -INVALID, "%s needs a name", *o);
    setup_close(&s);
}

TEST_LOOP(files_are_listed_in_order_with_their_whole_paths)
{
    struct setup s;
    setup_open(&s);
    CHECK_STR(invoke(&s, "list", NULL, "").data, "[]");
    static const char *const names[] = { "b", "a/z", "a/b/c", "c/1" };
    EACH (names, n)
        CHECK_OK(invoke(&s, "create", *n, "x y").result);
    str all = invoke(&s, "list", "", "").data, part = invoke(&s, "list", "a", "").data;
    char *real = realpath(s.root, NULL);
    REQUIRE(real);
    CHECK(str_eq(all, arena_printf(&s.a, "[\"%s/a/b/c\",\"%s/a/z\",\"%s/b\",\"%s/c/1\"]", real,
                                   real, real, real)),
          STR_FMT, STR_ARG(all));
    CHECK(str_eq(part, arena_printf(&s.a, "[\"%s/a/b/c\",\"%s/a/z\"]", real, real)), STR_FMT,
          STR_ARG(part));
    free(real);
    CHECK_EQ(invoke(&s, "list", "b", "").result, -INVALID, "a file is no folder");
    CHECK_EQ(invoke(&s, "list", "none", "").result, -NOT_FOUND);
    setup_close(&s);
}

TEST_LOOP(what_is_deleted_is_gone)
{
    struct setup s;
    setup_open(&s);
    CHECK_OK(invoke(&s, "create", "d/f", "x y").result);
    CHECK(invoke(&s, "delete", "d", "").result < 0, "a folder that isn't empty");
    struct answer a = invoke(&s, "delete", "d/f", "");
    CHECK_OK(a.result, "%s", a.err.text);
    CHECK_EQ(a.data.n, 0);
    a = invoke(&s, "get", "d/f", "");
    CHECK_EQ(a.result, -NOT_FOUND);
    CHECK(strstr(a.err.text, "file not found"), "%s", a.err.text);
    CHECK_EQ(invoke(&s, "delete", "d/f", "").result, -NOT_FOUND);
    CHECK_OK(invoke(&s, "delete", "d", "").result);
    CHECK_STR(invoke(&s, "list", NULL, "").data, "[]");
    setup_close(&s);
}

TEST_LOOP(no_name_leads_out)
{
    struct setup s;
    setup_open(&s);
    const char *outside = arena_printf(&s.a, "%s/../outside", s.root).p;
    const char *link = arena_printf(&s.a, "%s/link", s.root).p,
               *up = arena_printf(&s.a, "%s/up", s.root).p;
    FILE *file = fopen(outside, "we");
    REQUIRE(file);
    fputs("secret", file);
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(symlink(outside, link), 0);
    CHECK_EQ(symlink("..", up), 0);
    static const char *const names[] = { "../outside",   "/../outside", "a/../../outside",
                                         "./../outside", "up/outside",  "link" };
    static const char *const operation[] = { "get", "delete", "list" };
    EACH (names, n)
        EACH (operation, o) {
            if (str_eq(str_c(*n), S("link")) && str_eq(str_c(*o), S("delete")))
                continue; /* the link itself is below the folder */
            struct answer a = invoke(&s, *o, *n, "");
            CHECK(a.result == -NOT_FOUND || a.result == -INVALID, "%s %s: %d %s", *o, *n, a.result,
                  a.err.text);
        }
    CHECK_OK(invoke(&s, "create", "../../outside", "x y").result, "\"..\" ends at the folder");
    check_file(&s, "outside", "x y");
    CHECK_EQ(invoke(&s, "create", "up/outside", "x y").result, -INVALID);
    CHECK_OK(invoke(&s, "create", "link", "x y").result, "the link is replaced, not followed");
    char text[16] = "";
    file = fopen(outside, "re");
    REQUIRE(file);
    CHECK(fgets(text, sizeof text, file) != NULL);
    CHECK_EQ(fclose(file), 0);
    CHECK_TEXT(text, "secret");
    setup_close(&s);
}

TEST_LOOP(names_that_are_none_are_refused)
{
    struct setup s;
    setup_open(&s);
    static const char *const names[] = { ".", "/", "a/.." };
    EACH (names, n)
        CHECK_EQ(invoke(&s, "create", *n, "x y").result < 0 ||
                     str_starts(invoke(&s, "list", NULL, "").data, S("[\"")),
                 1, "%s", *n);
    char *longer = arena_alloc(&s.a, 400);
    memset(longer, 'x', 399);
    longer[399] = 0;
    CHECK_EQ(invoke(&s, "create", longer, "x y").result, -INVALID);
    char deep[2 * 200 + 1] = "";
    for (int i = 0; i < 200; i++)
        memcpy(deep + 2 * i, "d/", 2);
    deep[399] = 0;
    CHECK_EQ(invoke(&s, "create", deep, "x y").result, -INVALID);
    CHECK(mkfifo(arena_printf(&s.a, "%s/fifo", s.root).p, 0600) == 0);
    CHECK_EQ(invoke(&s, "get", "fifo", "").result, -INVALID, "nobody waits for its other end");
    setup_close(&s);
}

TEST_LOOP(folders_of_the_system_are_refused)
{
    static const char *const roots[] = { "",          "/proc",       "/proc/self",
                                         "/sys/x",    "/boot/files", "/var/run/secrets/x",
                                         "/dev/null", "/dev/null/x" };
    EACH (roots, r) {
        struct fixture f;
        const char *md[] = { "rootPath", *r, NULL };
        CHECK(fixture_open(&f, "bindings.localstorage", md, NULL) < 0, "%s", *r);
        CHECK(f.err.text[0] != 0);
        fixture_close(&f);
    }
}
