/* Runs the public JSONTestSuite where it lies: y_ must be accepted, n_ refused, i_ either way. */
#include "check.h"

#include "format/json.h"

#include <dirent.h>

static void slurp(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    if (!f)
        fail_msg("can't open %s", path);
    for (char *at; (at = buf_reserve(out, 4096)) != NULL;) {
        size_t n = fread(at, 1, 4096, f);
        if (!n)
            break;
        buf_commit(out, n);
    }
    fclose(f);
}

/* Everything that can be read of an accepted value must be readable without harm. */
static size_t visit(struct json v, struct arena *a)
{
    struct json key, item;
    size_t n = 1;
    str text;
    double d;
    if (v.type == JSON_STRING)
        assert_int_equal(json_string(a, v, &text), 0);
    if (v.type == JSON_NUMBER)
        (void)!json_double(v, &d);
    for (struct json_iter it = json_iter(v); json_next(&it, &key, &item);)
        n += visit(item, a);
    return n;
}

static char dir[1024];

static void suite_is_answered_as_it_says(void **state)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    unsigned n[3] = { 0 };
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        AUTO(buf_done) struct buf text;
        buf_init(&text, MIB(8));
        slurp(path, &text);

        AUTO(arena_done) struct arena arena;
        arena_init(&arena, MIB(8));
        struct json v;
        int r = json_parse(buf_str(&text), &v, NULL);
        if (!r)
            assert_true(visit(v, &arena) > 0);
        if ((e->d_name[0] == 'y' && r) || (e->d_name[0] == 'n' && !r))
            fail_msg("%s: %s", e->d_name, r ? "refused" : "accepted");
        n[e->d_name[0] == 'y' ? 0 : e->d_name[0] == 'n' ? 1 : 2]++;
    }
    closedir(d);
    print_message("JSONTestSuite: %u accepted, %u refused, %u of either kind\n", n[0], n[1], n[2]);
    assert_true(n[0] > 50 && n[1] > 100);
}

int main(void)
{
    if (!check_data_dir("json/test_parsing", dir, sizeof dir))
        return CHECK_SKIPPED;
    const struct CMUnitTest tests[] = { cmocka_unit_test(suite_is_answered_as_it_says) };
    return cmocka_run_group_tests_name("json_suite", tests, NULL, NULL);
}
