/* test_relay.c - what a running task sends goes up to the parent whole. */
#include "transport/transport.h"
#include "transport/uplink.h"
#include "wire/child.h"

#include <check.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct line up, parents;
static struct transport *x;

static void setup(void)
{
    ck_assert(line_pair(&parents, &up));
    x = transport_relay(&up);
    ck_assert_ptr_nonnull(x);
    ck_assert_ptr_null(x->broker);
}

static void teardown(void)
{
    x->ops->free(x);
    line_close(&up);
    line_close(&parents);
}

static int publish(void)
{
    return x->ops->publish(x, &(struct publish){.exchange = "",
                                                .routing_key = "q",
                                                .props = bytes_of("\0\0", 2),
                                                .body = bytes_text("body"),
                                                .spool = -1,
                                                .ensure = "q"});
}

START_TEST(a_message_is_one_frame_up)
{
    uint8_t bytes[256];
    enum child_frame_type type;
    struct bytes payload;
    struct posted got;
    ck_assert_int_eq(publish(), CTASK_OK);
    long n = line_get(&parents, bytes, sizeof bytes);
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(child_frame_next(bytes_of(bytes, (size_t)n), 0, &type, &payload), 1);
    ck_assert_int_eq(type, CHILD_PUBLISH);
    ck_assert_uint_eq(payload.n + CHILD_HEADER, (size_t)n);
    ck_assert(publish_read(payload, &got));
    ck_assert_int_eq(got.kind, POSTED_TASK);
    ck_assert(bytes_is(got.routing_key, "q") && bytes_is(got.exchange, ""));
    ck_assert(bytes_is(got.ensure, "q") && bytes_is(got.body, "body"));
    ck_assert(bytes_equal(got.props, bytes_of("\0\0", 2)));
}
END_TEST

START_TEST(a_frame_has_the_number_of_the_job_that_is_stamped)
{
    uint8_t header[CHILD_HEADER];
    uplink_stamp(0x0123456789abcdef);
    ck_assert_int_eq(publish(), CTASK_OK);
    ck_assert_int_eq(line_get(&parents, header, sizeof header), sizeof header);
    ck_assert(child_frame_nonce(header) == 0x0123456789abcdef);
    uplink_stamp(0);
}
END_TEST

START_TEST(a_parent_that_is_gone_is_an_error_not_a_signal)
{
    int rc;
    shutdown(parents.bell, SHUT_RDWR);
    while ((rc = publish()) == CTASK_OK) continue; /* until there is no room */
    ck_assert_int_eq(rc, CTASK_ECLOSED);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("relay");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_message_is_one_frame_up);
    tcase_add_test(t, a_frame_has_the_number_of_the_job_that_is_stamped);
    tcase_add_test(t, a_parent_that_is_gone_is_an_error_not_a_signal);
    Suite *s = suite_create("relay");
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
