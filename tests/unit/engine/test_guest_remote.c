/* The remote guest with a port of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "engine/guest/remote.h"
#include "harness/harness.h"

/* A script of what `wait` gives: numbers of events, 0: nothing comes in time, -1: lost. */
typedef struct fake_port {
    reid_remote_port port;
    int64_t open; /* guest; 0: closed */
    int64_t script[64];
    int at, count;
    const char *error;   /* of the verdicts */
    reid_str events;     /* "1@after_step:9[a=1 b=2] " */
    int waits, patience; /* calls of wait; those with a deadline */
    bool full;
} fake_port;

static void fake_open(void *user, int64_t guest)
{
    ((fake_port *)user)->open = guest;
}

static void fake_close(void *user, int64_t guest)
{
    fake_port *p = user;
    assert_int_equal(p->open, guest);
    p->open = 0;
}

static bool fake_send(void *user, int64_t guest, const reid_remote_event *event)
{
    fake_port *p = user;
    assert_int_equal(p->open, guest);
    if (p->full)
        return false;
    reid_str_addf(&p->events, "%lld@%s:%lld[", (long long)event->number,
                  reid_point_name(event->moment->point), (long long)event->moment->iter);
    for (size_t i = 0; i < event->scalar_count; i++)
        reid_str_addf(&p->events, "%s%s=%g", i ? " " : "", event->scalars[i].name,
                      event->scalars[i].value);
    reid_str_add(&p->events, "] ");
    return true;
}

static reid_status fake_wait(void *user, int64_t guest, double seconds,
                             reid_remote_verdict *ret_verdict, reid_error *err)
{
    fake_port *p = user;
    p->waits++;
    p->patience += seconds > 0;
    int64_t next = p->at < p->count ? p->script[p->at++] : 0;
    if (next < 0)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "its client has gone");
    if (next == 0)
        return reid_fail(err, REID_ERR_TIMEOUT, "nothing");
    *ret_verdict = (reid_remote_verdict){.event = next};
    if (p->error)
        ret_verdict->error = reid_xstrdup(p->error);
    else
        reid_wishes_add(&ret_verdict->wishes, REID_WISH_PUT_SCALAR, "of", NULL, (double)next, NULL);
    return REID_OK;
}

static void play(fake_port *p, int count, const int64_t *script)
{
    p->at = 0;
    p->count = count;
    memcpy(p->script, script, (size_t)count * sizeof *script);
    p->waits = p->patience = 0;
    reid_str_clear(&p->events);
}
#define PLAY(p, ...)                                                                               \
    do {                                                                                           \
        const int64_t steps[] = {__VA_ARGS__};                                                     \
        play((p), (int)(sizeof steps / sizeof steps[0]), steps);                                   \
    } while (0)

typedef struct fixture {
    fake_port port;
    reid_guest *guest;
    reid_event_storage *storage;
    reid_moment moment;
    reid_wishes wishes;
    reid_error err;
} fixture;

static void start(fixture *f, const char *spec_json)
{
    *f = (fixture){.storage = reid_event_storage_new(0)};
    f->port.port = (reid_remote_port){&f->port, fake_open, fake_close, fake_send, fake_wait};
    f->moment =
        (reid_moment){.point = REID_AFTER_STEP, .iter = 9, .max_iter = 100, .storage = f->storage};
    reid_guest_spec spec;
    const reid_guest_env env = {.port = &f->port.port};
    reid_assert_ok(reid_guest_spec_parse(spec_json, strlen(spec_json), &spec, &f->err), &f->err);
    reid_assert_ok(reid_guest_remote.open(&env, &spec, 7, &f->guest, &f->err), &f->err);
    reid_guest_spec_fini(&spec);
    assert_int_equal(f->port.open, 7);
}

static void end(fixture *f)
{
    f->guest->kind->close(f->guest);
    assert_int_equal(f->port.open, 0);
    reid_str_fini(&f->port.events);
    reid_wishes_fini(&f->wishes);
    reid_event_storage_free(f->storage);
}

static reid_status call(fixture *f)
{
    reid_wishes_fini(&f->wishes);
    reid_error_clear(&f->err);
    return f->guest->kind->call(f->guest, &f->moment, &f->wishes, &f->err);
}

/* The verdict whose wish came through; 0: none. */
static int wish(const fixture *f)
{
    return f->wishes.list.count > 0 ? (int)f->wishes.list.items[0].number : 0;
}

#define SYNC "{\"kind\":\"remote\",\"points\":[\"after_step\"],\"deadline_s\":0.5}"
#define ASYNC "{\"kind\":\"remote\",\"points\":[\"after_step\"],\"asynchronous\":true}"

static void test_it_waits_for_its_verdict(void **state)
{
    fixture f;
    start(&f, SYNC);
    for (int n = 1; n <= 3; n++) {
        PLAY(&f.port, 0, n); /* nothing waits; then the answer */
        reid_assert_ok(call(&f), &f.err);
        assert_int_equal(wish(&f), n);
        assert_int_equal(f.port.patience, 1);
    }
    assert_string_equal(f.port.events.data, "3@after_step:9[] ");
    assert_int_equal(f.guest->late + f.guest->missed, 0);
    end(&f);
}

/* Who is late is not waited for again until everything is answered; late wishes do not count. */
static void test_late(void **state)
{
    fixture f;
    start(&f, SYNC);
    PLAY(&f.port, 0, 0);
    assert_int_equal(call(&f), REID_ERR_TIMEOUT);
    assert_non_null(strstr(f.err.text, "0.5 s"));
    assert_int_equal(f.guest->late, 1);
    PLAY(&f.port, 0);
    reid_assert_ok(call(&f), &f.err); /* event 2: no waiting */
    assert_int_equal(f.port.patience, 0);
    PLAY(&f.port, 1, 0);
    reid_assert_ok(call(&f), &f.err); /* event 3: one answer has come, one is missing */
    assert_int_equal(f.port.patience + wish(&f), 0);
    PLAY(&f.port, 2, 3, 0, 4);
    reid_assert_ok(call(&f), &f.err); /* event 4: it has caught up */
    assert_int_equal(f.port.patience, 1);
    assert_int_equal(wish(&f), 4);
    assert_int_equal(f.guest->late, 1);
    PLAY(&f.port, 0, 0);
    assert_int_equal(call(&f), REID_ERR_TIMEOUT); /* event 5 */
    for (int n = 0; n < 30; n++) {
        PLAY(&f.port, 0);
        reid_assert_ok(call(&f), &f.err);
        assert_int_equal(f.port.patience, 0);
    }
    assert_int_equal(f.guest->missed, 15); /* events 6 to 20 were sent: 16 are owed */
    PLAY(&f.port, 20, 0, 36);
    reid_assert_ok(call(&f), &f.err);
    assert_int_equal(wish(&f), 36);
    end(&f);
}

static void test_failing_and_lost(void **state)
{
    fixture f;
    start(&f, SYNC);
    f.port.error = "I cannot";
    PLAY(&f.port, 0, 1);
    assert_int_equal(call(&f), REID_ERR_INVALID);
    assert_string_equal(f.err.text, "I cannot");
    f.port.error = NULL;
    PLAY(&f.port, 0, -1);
    assert_int_equal(call(&f), REID_ERR_UNAVAILABLE);
    assert_string_equal(f.err.text, "its client has gone");
    PLAY(&f.port, -1);
    assert_int_equal(call(&f), REID_ERR_UNAVAILABLE);
    assert_null(strchr(reid_str_text(&f.port.events), '@')); /* nothing is sent to nobody */
    end(&f);
}

static void test_asynchronous(void **state)
{
    fixture f;
    start(&f, ASYNC);
    PLAY(&f.port, 0);
    reid_assert_ok(call(&f), &f.err);
    assert_int_equal(f.port.patience + wish(&f), 0);
    f.port.full = true;
    PLAY(&f.port, 1, 0); /* the verdict on event 1 is taken with event 2 */
    reid_assert_ok(call(&f), &f.err);
    assert_int_equal(wish(&f), 1);
    assert_int_equal(f.guest->missed, 1);
    f.port.full = false;
    PLAY(&f.port, 0);
    reid_assert_ok(call(&f), &f.err);
    assert_string_equal(f.port.events.data, "3@after_step:9[] "); /* a gap */
    PLAY(&f.port, 3, 0);
    reid_wishes_fini(&f.wishes);
    reid_assert_ok(f.guest->kind->poll(f.guest, &f.wishes, &f.err), &f.err);
    assert_int_equal(wish(&f), 3);
    PLAY(&f.port, -1);
    reid_wishes_fini(&f.wishes);
    assert_int_equal(f.guest->kind->poll(f.guest, &f.wishes, &f.err), REID_ERR_UNAVAILABLE);
    end(&f);
}

static void test_scalars_are_chosen(void **state)
{
    fixture f;
    start(&f, "{\"kind\":\"remote\",\"points\":[\"after_step\"],\"asynchronous\":true,"
              "\"scalars\":[\"loss*\",\"lr\"]}");
    reid_event_storage_put_scalar(f.storage, "loss_cls", 1, true, NULL);
    reid_event_storage_put_scalar(f.storage, "time", 2, true, NULL);
    PLAY(&f.port, 0);
    reid_assert_ok(call(&f), &f.err);
    assert_string_equal(f.port.events.data, "1@after_step:9[loss_cls=1] ");
    reid_event_storage_put_scalar(f.storage, "lr", 0.5, false, NULL);
    reid_event_storage_put_scalar(f.storage, "loss_cls", 4, true, NULL);
    f.moment.point = REID_BEFORE_STEP;
    f.moment.iter = 10;
    PLAY(&f.port, 0);
    reid_assert_ok(call(&f), &f.err);
    assert_string_equal(f.port.events.data, "2@before_step:10[loss_cls=4 lr=0.5] ");
    end(&f);
}

static void test_what_it_needs(void **state)
{
    reid_guest_spec spec;
    reid_guest *guest = NULL;
    reid_error err = {0};
    fake_port port = {0};
    port.port = (reid_remote_port){&port, fake_open, fake_close, fake_send, fake_wait};
    reid_guest_env env = {0};
    reid_assert_ok(reid_guest_spec_parse(SYNC, strlen(SYNC), &spec, &err), &err);
    assert_int_equal(reid_guest_remote.open(&env, &spec, 0, &guest, &err), REID_ERR_PRECONDITION);
    reid_error_clear(&err);
    env.port = &port.port;
    reid_assert_ok(reid_guest_remote.open(&env, &spec, 0, &guest, &err), &err);
    assert_int_equal(port.open, 0); /* only tried */
    reid_guest_remote.close(guest);
    spec.points = 0;
    assert_int_equal(reid_guest_remote.open(&env, &spec, 1, &guest, &err), REID_ERR_INVALID);
    reid_guest_spec_fini(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_waits_for_its_verdict), cmocka_unit_test(test_late),
        cmocka_unit_test(test_failing_and_lost),         cmocka_unit_test(test_asynchronous),
        cmocka_unit_test(test_scalars_are_chosen),       cmocka_unit_test(test_what_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
