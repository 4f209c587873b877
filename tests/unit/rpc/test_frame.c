/* Framing and unpacking of messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "echo.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "harness/harness.h"
#include "rpc/frame.h"
#include "rpc/unpack.h"

enum { MESSAGES = 50 };

/* Message i has i·i bytes of value i. */
static size_t make_messages(uint8_t *buffer)
{
    uint8_t *at = buffer;
    for (size_t i = 0; i < MESSAGES; i++) {
        size_t size = i * i;
        *at++ = 0;
        *at++ = 0;
        *at++ = 0;
        *at++ = (uint8_t)(size >> 8);
        *at++ = (uint8_t)size;
        memset(at, (int)i, size);
        at += size;
    }
    return (size_t)(at - buffer);
}

static void messages_in_any_portions(void **state)
{
    static uint8_t bytes[100000];
    size_t total = make_messages(bytes);
    for (uint32_t seed = 0; seed < 60; seed++) {
        reid_rng rng = reid_rng_stream(seed, REID_RNG_TEST, 0, 0);
        reid_rpc_quota quota = {.limit = 3000};
        reid_rpc_inbox inbox = {.max_bytes = 2500, .quota = &quota};
        size_t found = 0;
        uint32_t largest = 1 + seed * seed;
        for (size_t at = 0; at < total;) {
            size_t size = 1 + reid_rng_below(&rng, largest);
            size = size < total - at ? size : total - at;
            uint8_t *portion =
                malloc(size); /* its own block, so that a sanitizer sees every wrong read */
            memcpy(portion, bytes + at, size);
            at += size;
            const uint8_t *data = portion, *message;
            size_t message_size;
            for (;;) {
                assert_int_equal(
                    reid_rpc_inbox_feed(&inbox, &data, &size, &message, &message_size, NULL),
                    REID_OK);
                if (!message)
                    break;
                assert_int_equal(message_size, found * found);
                for (size_t i = 0; i < message_size; i++)
                    assert_int_equal(message[i], found);
                found++;
            }
            assert_int_equal(size, 0);
            free(portion);
        }
        assert_int_equal(found, MESSAGES);
        assert_false(reid_rpc_inbox_partial(&inbox));
        reid_rpc_inbox_fini(&inbox);
        assert_int_equal(quota.used, 0);
    }
}

static void memory_follows_what_came_not_what_was_announced(void **state)
{
    reid_rpc_quota quota = {.limit = 10000};
    reid_rpc_inbox inbox = {.max_bytes = 4 << 20, .quota = &quota};
    uint8_t head[] = {0, 0, 0x40, 0, 0, 1, 2, 3}; /* announces 4 MiB */
    const uint8_t *data = head, *message;
    size_t size = sizeof head, message_size;
    assert_int_equal(reid_rpc_inbox_feed(&inbox, &data, &size, &message, &message_size, NULL),
                     REID_OK);
    assert_null(message);
    assert_true(reid_rpc_inbox_partial(&inbox));
    assert_true(quota.used <= 4096);
    uint8_t more[9000] = {0};
    data = more;
    size = sizeof more;
    assert_int_equal(reid_rpc_inbox_feed(&inbox, &data, &size, &message, &message_size, NULL),
                     REID_OK);
    data = more;
    size = sizeof more;
    assert_int_equal(reid_rpc_inbox_feed(&inbox, &data, &size, &message, &message_size, NULL),
                     REID_ERR_EXHAUSTED);
    assert_true(quota.used <= quota.limit);
    reid_rpc_inbox_fini(&inbox);
    assert_int_equal(quota.used, 0);
}

static void outbox_keeps_its_limit(void **state)
{
    reid_rpc_outbox outbox = {.max_bytes = 1000};
    uint8_t payload[5000] = {0}, buffer[6000];
    Reid__Test__Ask ask = REID__TEST__ASK__INIT;
    ask.payload = (ProtobufCBinaryData){5000, payload};
    assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 4999), REID_ERR_INVALID);
    assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 0), REID_OK); /* empty: takes any */
    ask.payload.len = 0;
    assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 0), REID_ERR_EXHAUSTED);
    assert_false(reid_rpc_outbox_take_drain(&outbox));
    assert_int_equal(reid_rpc_outbox_read(&outbox, buffer, sizeof buffer), 5000 + 3 + 5);
    static const uint8_t start[] = {0, 0, 0, 0x13, 0x8b, 0x12, 0x88, 0x27};
    assert_memory_equal(buffer, start, sizeof start);
    assert_true(reid_rpc_outbox_take_drain(&outbox));
    assert_false(reid_rpc_outbox_take_drain(&outbox)); /* once */

    ask.payload.len = 93; /* 100 bytes framed */
    for (int i = 0; i < 10; i++)
        assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 0), REID_OK);
    assert_int_equal(outbox.bytes, 1000);
    assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 0), REID_ERR_EXHAUSTED);
    assert_int_equal(outbox.bytes, 1000);
    assert_int_equal(reid_rpc_outbox_read(&outbox, buffer, 749), 749);
    assert_false(reid_rpc_outbox_take_drain(&outbox)); /* 251 left, a quarter is 250 */
    assert_int_equal(reid_rpc_outbox_read(&outbox, buffer, 1), 1);
    assert_true(reid_rpc_outbox_take_drain(&outbox));
    reid_rpc_outbox_drop(&outbox); /* the message that has begun to leave stays */
    assert_int_equal(outbox.bytes, 50);
    assert_int_equal(reid_rpc_outbox_read(&outbox, buffer, sizeof buffer), 50);
    assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 0), REID_OK);
    reid_rpc_outbox_drop(&outbox);
    assert_int_equal(outbox.bytes, 0);
    assert_int_equal(reid_rpc_outbox_push(&outbox, &ask.base, 0), REID_OK);
    reid_rpc_outbox_fini(&outbox);
}

static void packed_messages_leave_like_others(void **state)
{
    reid_rpc_outbox outbox = {.max_bytes = 20};
    uint8_t buffer[64];
    assert_int_equal(reid_rpc_outbox_push_packed(&outbox, "12345", 5, 4), REID_ERR_INVALID);
    assert_int_equal(reid_rpc_outbox_push_packed(&outbox, "12345", 5, 5), REID_OK);
    assert_int_equal(reid_rpc_outbox_push_packed(&outbox, "", 0, 5), REID_OK);
    assert_int_equal(reid_rpc_outbox_push_packed(&outbox, "1", 1, 5), REID_ERR_EXHAUSTED);
    static const uint8_t framed[] = {0, 0, 0, 0, 5, '1', '2', '3', '4', '5', 0, 0, 0, 0, 0};
    assert_int_equal(reid_rpc_outbox_read(&outbox, buffer, sizeof buffer), sizeof framed);
    assert_memory_equal(buffer, framed, sizeof framed);
    assert_true(reid_rpc_outbox_take_drain(&outbox));
    reid_rpc_outbox_fini(&outbox);
}

static void unpacking_is_bounded(void **state)
{
    /* 100,000 empty messages in two bytes each would take 5 MB. */
    size_t size = 200000;
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i += 2) {
        bytes[i] = 0x0a;
        bytes[i + 1] = 0;
    }
    const ProtobufCMessageDescriptor *type =
        &grpc__reflection__v1__list_service_response__descriptor;
    ProtobufCMessage *message = NULL;
    reid_error err = {0};
    assert_int_equal(reid_rpc_unpack(type, bytes, size, 1 << 20, &message, &err),
                     REID_ERR_EXHAUSTED);
    assert_string_equal(
        err.text,
        "a grpc.reflection.v1.ListServiceResponse of 200000 bytes needs more memory than is "
        "allowed");
    assert_null(message);
    /* every size of the budget on the way: no leak and no crash where memory runs out */
    for (uint64_t budget = 0; budget < 20000; budget += 97) {
        reid_status status = reid_rpc_unpack(type, bytes, 200, budget, &message, NULL);
        if (status == REID_OK)
            protobuf_c_message_free_unpacked(message, NULL);
        else
            assert_int_equal(status, REID_ERR_EXHAUSTED);
    }
    assert_int_equal(reid_rpc_unpack(type, bytes, 200, 1 << 20, &message, NULL), REID_OK);
    assert_int_equal(((Grpc__Reflection__V1__ListServiceResponse *)message)->n_service, 100);
    protobuf_c_message_free_unpacked(message, NULL);
    free(bytes);
}

static void garbage_is_refused_or_understood(void **state)
{
    for (uint32_t round = 0; round < 20000; round++) {
        reid_rng rng = reid_rng_stream(3, REID_RNG_TEST, round, 0);
        size_t size = reid_rng_below(&rng, 40);
        uint8_t *bytes = malloc(size + 1);
        for (size_t i = 0; i < size; i++) /* small numbers are more often tags and lengths */
            bytes[i] = (uint8_t)(reid_rng_u32(&rng) >> (reid_rng_below(&rng, 2) ? 24 : 27));
        ProtobufCMessage *message;
        const ProtobufCMessageDescriptor *type =
            round % 2 ? &reid__test__ask__descriptor
                      : &grpc__reflection__v1__server_reflection_response__descriptor;
        if (reid_rpc_unpack(type, bytes, size, 1 << 20, &message, NULL) == REID_OK)
            protobuf_c_message_free_unpacked(message, NULL);
        free(bytes);
    }
}

static reid_status unpack_text(const char *text)
{
    uint8_t bytes[100] = {0x0a, (uint8_t)strlen(text)};
    memcpy(bytes + 2, text, strlen(text));
    ProtobufCMessage *message;
    reid_status status = reid_rpc_unpack(&reid__test__ask__descriptor, bytes, 2 + strlen(text),
                                         1 << 20, &message, NULL);
    if (status == REID_OK)
        protobuf_c_message_free_unpacked(message, NULL);
    return status;
}

/* Examples of RFC 3629 and of the Unicode standard's table 3-7. */
static void texts_are_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x41",
                                      "\xe0\x9f\xbf",
                                      "\xe1\x80",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf1\x80\x80",
                                      "\xff",
                                      "ok\xfe"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(unpack_text(good[i]), REID_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(unpack_text(bad[i]), REID_ERR_INVALID);
    static const uint8_t with_nul[] = {0x0a, 3, 'a', 0,
                                       'b'}; /* a C text cannot hold it: "a" would be heard */
    ProtobufCMessage *message;
    assert_int_equal(reid_rpc_unpack(&reid__test__ask__descriptor, with_nul, sizeof with_nul,
                                     1 << 20, &message, NULL),
                     REID_ERR_INVALID);
}

static void texts_inside_are_looked_at(void **state)
{
    typedef Grpc__Reflection__V1__ServerReflectionResponse response;
    typedef Grpc__Reflection__V1__ServiceResponse service;
    service one = GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT, *list_of_one[] = {&one};
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    list.n_service = 1;
    list.service = list_of_one;
    response whole = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    whole.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    whole.list_services_response = &list;
    for (int i = 0; i < 2; i++) {
        one.name = (char *)(uintptr_t)(i ? "good" : "\xff");
        uint8_t bytes[100];
        size_t size = protobuf_c_message_pack(&whole.base, bytes);
        ProtobufCMessage *message;
        reid_error err = {0};
        reid_status status =
            reid_rpc_unpack(whole.base.descriptor, bytes, size, 1 << 20, &message, &err);
        assert_int_equal(status, i ? REID_OK : REID_ERR_INVALID);
        if (status == REID_OK)
            protobuf_c_message_free_unpacked(message, NULL);
        else
            assert_non_null(strstr(err.text, "field 'name'"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_in_any_portions),
        cmocka_unit_test(memory_follows_what_came_not_what_was_announced),
        cmocka_unit_test(outbox_keeps_its_limit),
        cmocka_unit_test(packed_messages_leave_like_others),
        cmocka_unit_test(unpacking_is_bounded),
        cmocka_unit_test(garbage_is_refused_or_understood),
        cmocka_unit_test(texts_are_utf8),
        cmocka_unit_test(texts_inside_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
