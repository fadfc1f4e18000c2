/* test_url.c - broker URLs: the rows of tests/golden/urls.txt, which kombu reads too (see
 * tests/interop/test_url_kombu.sh), what never gets into words, and hosts that need no resolver. */
#include "base/addr.h"
#include "base/secret.h"
#include "base/urls.h"

#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { URL, SCHEME, HOST, PORT, USER, PASSWORD, VHOST, HEARTBEAT, FIELDS };

static void assert_row(char *row[FIELDS], unsigned line)
{
    struct url u;
    struct ctask_error e = {0};
    int rc = url_parse(row[URL], &u, &e);
    if (strcmp(row[SCHEME], "refused") == 0) {
        ck_assert_msg(rc == CTASK_EINVAL && e.code == rc, "line %u: taken", line);
        ck_assert_msg(strstr(e.text, row[HOST]) != NULL, "line %u: %s", line, e.text);
        return;
    }
    ck_assert_msg(rc == CTASK_OK, "line %u: %s", line, e.text);
    ck_assert_msg(u.tls == (strcmp(row[SCHEME], "amqps") == 0), "line %u", line);
    ck_assert_msg(strcmp(u.host, row[HOST]) == 0, "line %u: %s", line, u.host);
    ck_assert_msg(u.port == atoi(row[PORT]), "line %u: %u", line, u.port);
    ck_assert_msg(strcmp(u.user, row[USER]) == 0, "line %u: %s", line, u.user);
    ck_assert_msg(strcmp(u.password, row[PASSWORD]) == 0, "line %u: %s", line, u.password);
    ck_assert_msg(strcmp(u.vhost, row[VHOST]) == 0, "line %u: %s", line, u.vhost);
    ck_assert_msg(u.heartbeat == atoi(row[HEARTBEAT]), "line %u: %d", line, u.heartbeat);
}

/* Calls f for each row of the table; returns how many there are. */
static unsigned rows_each(void (*f)(char *row[FIELDS], unsigned line))
{
    char text[2048];
    unsigned rows = 0;
    FILE *file = fopen(TEST_GOLDEN "/urls.txt", "r");
    ck_assert_ptr_nonnull(file);
    for (unsigned line = 1; fgets(text, sizeof text, file); line++) {
        if (text[0] == '#') continue;
        text[strcspn(text, "\n")] = '\0';
        char *row[FIELDS], *rest = text;
        int fields = 0;
        while (fields < FIELDS && rest) row[fields++] = strsep(&rest, "\t");
        bool refused = fields > SCHEME && strcmp(row[SCHEME], "refused") == 0;
        ck_assert_msg(fields == (refused ? HOST + 1 : FIELDS) && !rest, "line %u", line);
        f(row, line);
        rows++;
    }
    fclose(file);
    return rows;
}

START_TEST(every_row_of_the_table_holds)
{
    ck_assert_uint_ge(rows_each(assert_row), 100);
}
END_TEST

static void assert_shown_as_itself(char *row[FIELDS], unsigned line)
{
    struct url u, again;
    char text[2048], *stars;
    if (strcmp(row[SCHEME], "refused") == 0) return;
    ck_assert_int_eq(url_parse(row[URL], &u, NULL), CTASK_OK);
    url_show(&u, text, sizeof text);
    ck_assert_msg((stars = strstr(text, ":***@")) != NULL, "line %u: %s", line, text);
    ck_assert_msg(url_parse(text, &again, NULL) == CTASK_OK, "line %u: %s", line, text);
    strcpy(u.password, "***");
    u.heartbeat = -1;
    ck_assert_msg(u.tls == again.tls && u.port == again.port && !strcmp(u.host, again.host) &&
                      !strcmp(u.user, again.user) && !strcmp(u.password, again.password) &&
                      !strcmp(u.vhost, again.vhost),
                  "line %u: %s", line, text);
}

START_TEST(what_is_shown_is_the_same_url_but_for_the_password)
{
    struct url u;
    char text[128];
    rows_each(assert_shown_as_itself);
    ck_assert_int_eq(url_parse("amqps://b%40b:secret@[::1]/a%2Fb", &u, NULL), CTASK_OK);
    ck_assert_str_eq(url_show(&u, text, sizeof text), "amqps://b%40b:***@[::1]:5671/a%2Fb");
    ck_assert_str_eq(url_show(&u, text, 10), "amqps://b");
    ck_assert_int_eq(url_parse("amqp://", &u, NULL), CTASK_OK);
    ck_assert_str_eq(url_show(&u, text, sizeof text), "amqp://guest:***@localhost:5672/");
}
END_TEST

/* The secret stands where a URL with one mistake has, or seems to have, its password. */
START_TEST(no_sentence_holds_a_password)
{
    static const char *const urls[] = {
        "bob:SECRET@rabbit",
        "amqp:bob:SECRET@rabbit",
        "redis://bob:SECRET@rabbit",
        "amqp://bob:SECRET/x@rabbit",
        "amqp://bob:SECRET?x@rabbit",
        "amqp://bob:SECRET#x@rabbit",
        "amqp://bob:SECRET;x@rabbit",
        "amqp://bob:SECRET %@rabbit",
        "amqp://bob:SECRET%@rabbit",
        "amqp://bob:SECRET%00@rabbit",
        "amqp://bob:x?SECRET@rabbit",
        "amqp://bob:1?SECRET@rabbit",
        "amqp://bob:1/SECRET@rabbit",
        "amqp://bob:x@SECRET*",
        "amqp://SECRET",
        "amqp://[SECRET]",
        "amqp://[::1]SECRET",
        "amqp://localhost:SECRET",
        "amqp://localhost/?heartbeat=SECRET",
        "amqp://localhost/?password=SECRET",
        "amqps://localhost/?keyfile=SECRET",
        "amqps://localhost/?cafile=a&cafile=SECRET",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct url u;
        struct ctask_error e;
        ck_assert_msg(url_parse(urls[i], &u, &e) == CTASK_EINVAL, "%s", urls[i]);
        ck_assert_msg(!strcasestr(e.text, "SECRET"), "%s", e.text);
        for (size_t at = 0; at < sizeof u; at++) ck_assert_int_eq(((const char *)&u)[at], 0);
    }
}
END_TEST

START_TEST(files_for_tls_are_taken)
{
    struct url u;
    struct ctask_error e = {0};
    ck_assert_msg(url_parse("amqps://localhost/?cafile=/a%20b&capath=c&certfile=d&keyfile=e%26", &u,
                            &e) == CTASK_OK,
                  "%s", e.text);
    ck_assert_str_eq(u.cafile, "/a b");
    ck_assert_str_eq(u.capath, "c");
    ck_assert_str_eq(u.certfile, "d");
    ck_assert_str_eq(u.keyfile, "e&");
    ck_assert_int_eq(url_parse("amqps://localhost", &u, NULL), CTASK_OK);
    ck_assert(!*u.cafile && !*u.capath && !*u.certfile && !*u.keyfile);
}
END_TEST

START_TEST(control_characters_are_refused_wherever_they_are)
{
    static const char *const shapes[] = {"^amqp://b:x@localhost/v",  "amqp://b^:x@localhost/v",
                                         "amqp://b:^x@localhost/v",  "amqp://b:x@local^host/v",
                                         "amqp://b:x@localhost:^/v", "amqp://b:x@localhost/v^"};
    struct url u;
    for (char c = 1; c <= ' '; c++) {
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            char text[64];
            strcpy(text, shapes[i]);
            *strchr(text, '^') = c;
            ck_assert_int_eq(url_parse(text, &u, NULL), CTASK_EINVAL);
        }
    }
    ck_assert_int_eq(url_parse("", &u, NULL), CTASK_EINVAL);
}
END_TEST

START_TEST(several_stand_with_semicolons_between)
{
    struct ctask_error e = {0};
    struct urls *u = urls_new("amqp://b:x@one/v;amqps://c:y@[::1]:7/?heartbeat=3;pyamqp://", &e);
    ck_assert_msg(u != NULL, "%s", e.text);
    ck_assert_uint_eq(u->count, 3);
    ck_assert_str_eq(u->at[0].host, "one");
    ck_assert_str_eq(u->at[0].vhost, "v");
    ck_assert(u->at[1].tls && u->at[1].port == 7 && u->at[1].heartbeat == 3);
    ck_assert_str_eq(u->at[1].password, "y");
    ck_assert_str_eq(u->at[2].host, "localhost");
    ck_assert_int_eq(u->at[2].heartbeat, -1);
    urls_free(u);
}
END_TEST

static void assert_no_urls(const char *text, const char *words)
{
    struct ctask_error e = {0};
    ck_assert_ptr_null(urls_new(text, &e));
    ck_assert_int_eq(e.code, CTASK_EINVAL);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s", e.text);
    ck_assert_msg(!strstr(e.text, "SECRET"), "%s", e.text);
}

START_TEST(a_wrong_one_among_several_is_numbered)
{
    assert_no_urls("amqp://h;", "guest");
    assert_no_urls("amqp://;", "number 2: the broker URL does not begin");
    assert_no_urls(";amqp://", "number 1: the broker URL does not begin");
    assert_no_urls("amqp://b:SECRET;SECRET@rabbit/", "%3B in a password");
    assert_no_urls("amqp://;amqp://b:SEC%RET@rabbit", "number 2");
    assert_no_urls("amqp://;amqp://;amqp://;amqp://;amqp://;amqp://;amqp://;amqp://;amqp://",
                   "more than 8");
    assert_no_urls("SECRET", "the broker URL does not begin");
}
END_TEST

START_TEST(the_environment_names_them_or_a_file_that_does)
{
    char path[] = "/tmp/ctask-url-XXXXXX";
    struct ctask_error e = {0};
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "amqp://b:x@file/;amqp://\nmore\n", 30), 30);
    close(fd);
    unsetenv("CTASK_BROKER_URL");
    setenv("CTASK_BROKER_FILE", path, 1);
    struct urls *u = urls_default(&e);
    ck_assert_msg(u && u->count == 2 && !strcmp(u->at[0].host, "file"), "%s", e.text);
    urls_free(u);
    setenv("CTASK_BROKER_URL", "amqp://b:x@variable", 1);
    u = urls_default(&e);
    ck_assert_msg(u && u->count == 1 && !strcmp(u->at[0].host, "variable"), "%s", e.text);
    urls_free(u);
    setenv("CTASK_BROKER_URL", "", 1);
    ck_assert_int_eq(truncate(path, 0), 0);
    ck_assert(!urls_default(&e) && strstr(e.text, "it is empty"));
    unlink(path);
    ck_assert(!urls_default(&e) && strstr(e.text, "No such file"));
    unsetenv("CTASK_BROKER_FILE");
    u = urls_default(&e);
    ck_assert(u && u->count == 1 && !strcmp(u->at[0].host, "localhost"));
    urls_free(u);
}
END_TEST

START_TEST(a_forked_child_sees_no_secret)
{
    int status;
    char *p = secret_new(10000);
    ck_assert_ptr_nonnull(p);
    memset(p, 'x', 10000);
    pid_t pid = fork();
    if (pid == 0) {
        int seen = 0;
        for (int i = 0; i < 10000; i++) seen |= p[i];
        _exit(seen);
    }
    ck_assert(waitpid(pid, &status, 0) == pid && status == 0);
    ck_assert(p[0] == 'x' && p[9999] == 'x');
    secret_free(p, 10000);
}
END_TEST

START_TEST(numbers_and_localhost_need_no_resolver)
{
    struct addrs a;
    ck_assert(addrs_literal("localhost", 5672, &a));
    ck_assert_uint_eq(a.count, 2);
    const struct sockaddr_in6 *six = (const void *)&a.at[0].sa;
    const struct sockaddr_in *four = (const void *)&a.at[1].sa;
    ck_assert(six->sin6_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr));
    ck_assert(four->sin_family == AF_INET && ntohl(four->sin_addr.s_addr) == INADDR_LOOPBACK);
    ck_assert(ntohs(six->sin6_port) == 5672 && ntohs(four->sin_port) == 5672);
    ck_assert(addrs_literal("192.0.2.7", 1, &a) && a.count == 1);
    ck_assert(addrs_literal("2001:db8::7", 1, &a) && a.count == 1);
    ck_assert(!addrs_literal("rabbit.example", 1, &a) && a.count == 0);
    ck_assert_int_eq(addrs_resolve("127.0.0.1", 1, &a, NULL), CTASK_OK);
}
END_TEST

START_TEST(a_host_that_is_not_found_is_said_by_name)
{
    struct addrs a;
    struct ctask_error e;
    /* ".invalid" never resolves (RFC 6761), with or without a network. */
    ck_assert_int_eq(addrs_resolve("rabbit.invalid", 1, &a, &e), CTASK_ECONN);
    ck_assert_ptr_nonnull(strstr(e.text, "rabbit.invalid"));
    ck_assert_uint_eq(a.count, 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("url");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_row_of_the_table_holds);
    tcase_add_test(t, what_is_shown_is_the_same_url_but_for_the_password);
    tcase_add_test(t, no_sentence_holds_a_password);
    tcase_add_test(t, files_for_tls_are_taken);
    tcase_add_test(t, control_characters_are_refused_wherever_they_are);
    tcase_add_test(t, several_stand_with_semicolons_between);
    tcase_add_test(t, a_wrong_one_among_several_is_numbered);
    tcase_add_test(t, the_environment_names_them_or_a_file_that_does);
    tcase_add_test(t, a_forked_child_sees_no_secret);
    tcase_add_test(t, numbers_and_localhost_need_no_resolver);
    tcase_add_test(t, a_host_that_is_not_found_is_said_by_name);
    Suite *s = suite_create("url");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
