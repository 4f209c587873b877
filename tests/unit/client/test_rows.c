#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "rows.h"

/* A chunk of `count` rows of one attempt, from seq on. */
typedef struct chunk {
    Reid__V1__MetricsChunk message;
    Reid__V1__MetricRow rows[8], *pointers[8];
} chunk;

static const Reid__V1__MetricsChunk *make_chunk(chunk *c, int32_t attempt, int64_t seq,
                                                size_t count)
{
    reid__v1__metrics_chunk__init(&c->message);
    for (size_t i = 0; i < count; i++) {
        reid__v1__metric_row__init(&c->rows[i]);
        c->rows[i].attempt = attempt;
        c->rows[i].seq = seq + (int64_t)i;
        c->pointers[i] = &c->rows[i];
    }
    c->message.rows = c->pointers;
    c->message.n_rows = count;
    return &c->message;
}

static void each_row_is_taken_once(void **state)
{
    reidctl_rows rows;
    chunk c;
    reidctl_rows_init(&rows, "abc", true);
    assert_int_equal(reidctl_rows_take(&rows, NULL, 0, make_chunk(&c, 1, 1, 0)), 0);
    assert_int_equal(reidctl_rows_take(&rows, NULL, 0, make_chunk(&c, 1, 1, 3)), 0);
    assert_int_equal(rows.request.seq, 3);
    assert_int_equal(reidctl_rows_take(&rows, NULL, 0, make_chunk(&c, 1, 2, 2)), 2); /* seen */
    assert_int_equal(reidctl_rows_take(&rows, NULL, 0, make_chunk(&c, 1, 2, 4)), 2);
    assert_int_equal(rows.request.seq, 5);
    assert_int_equal(reidctl_rows_take(&rows, NULL, 0, make_chunk(&c, 2, 1, 2)), 0);
    assert_int_equal(rows.request.attempt, 2);
    assert_int_equal(rows.request.seq, 2);
    assert_int_equal(reidctl_rows_take(&rows, NULL, 0, make_chunk(&c, 1, 6, 2)), 2); /* older */
    assert_int_equal(rows.request.attempt, 2);
}

static void missing_rows_are_asked_for_once(void **state)
{
    reidctl ctl = {0}; /* not connected: nothing can be started */
    reidctl_feed feed = {0};
    reidctl_feeds feeds = {.ctl = &ctl, .items = &feed, .count = 1};
    reidctl_rows rows;
    chunk c;
    reidctl_rows_init(&rows, "abc", true);
    reidctl_rows_take(&rows, &feeds, 0, make_chunk(&c, 1, 1, 2));
    make_chunk(&c, 1, 5, 2);
    c.message.missed = 2;
    assert_int_equal(reidctl_rows_take(&rows, &feeds, 0, &c.message), 2); /* nothing of it */
    assert_int_equal(rows.request.seq, 2);
    assert_int_equal(reidctl_rows_take(&rows, &feeds, 0, &c.message), 0); /* no use asking */
    assert_int_equal(rows.request.seq, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_taken_once),
        cmocka_unit_test(missing_rows_are_asked_for_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
