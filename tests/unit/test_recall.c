/* test_recall.c - what is recalled is never heard of again, however far it has come: its owner is
 * free to go. */
#include "amqp/outbox.h"
#include "transport/broker.h"

#include <check.h>
#include <ctask.h>

static int cookie, other;

static struct publish message(void *owner)
{
    return (struct publish){.exchange = "",
                            .routing_key = "q",
                            .props = bytes_of("\0\0", 2),
                            .body = bytes_text("body"),
                            .spool = -1,
                            .cookie = owner};
}

START_TEST(all_messages_of_an_owner_go)
{
    struct url url;
    struct ctask_error e;
    ck_assert_int_eq(url_parse("amqp://127.0.0.1:1", &url, &e), CTASK_OK);
    struct broker *b = broker_new(&(struct broker_config){.url = &url});
    ck_assert_ptr_nonnull(b);
    struct publish mine = message(&cookie), theirs = message(&other);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(broker_publish(b, &mine), CTASK_OK);
        ck_assert_int_eq(broker_publish(b, &theirs), CTASK_OK);
    }
    broker_recall(b, &cookie);
    ck_assert_uint_eq(broker_unconfirmed(b), 3);
    broker_free(b);
}
END_TEST

START_TEST(what_is_done_and_not_yet_told_goes_too)
{
    struct outbox o;
    struct buf out = {0};
    struct publish mine = message(&cookie);
    struct post *post;
    outbox_init(&o, 8, 1000000);
    ck_assert_int_eq(outbox_put(&o, &mine, &post), CTASK_OK);
    outbox_ready(&o, post);
    ck_assert(outbox_write(&o, &out, 1, 131072, 131072, 0));
    outbox_confirm(&o, 1, false, true);
    ck_assert(outbox_recall(&o, &cookie));
    ck_assert_ptr_null(outbox_take(&o));
    ck_assert_uint_eq(o.count, 0);
    outbox_done(&o);
    buf_done(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recall");
    TCase *t = tcase_create("recall");
    tcase_add_test(t, all_messages_of_an_owner_go);
    tcase_add_test(t, what_is_done_and_not_yet_told_goes_too);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
