#include "rpc/frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

enum { HEAD_BYTES = 5, FIRST_CAPACITY = 4096 };

void reid_rpc_quota_give(reid_rpc_quota *quota, size_t bytes)
{
    if (!quota || bytes == 0)
        return;
    quota->used -= bytes;
    if (quota->on_given)
        quota->on_given(quota);
}

/* ---- inbox ---- */

static void release(reid_rpc_inbox *inbox)
{
    reid_rpc_quota_give(inbox->quota, inbox->capacity);
    free(inbox->data);
    inbox->data = NULL;
    inbox->capacity = 0;
}

void reid_rpc_inbox_fini(reid_rpc_inbox *inbox)
{
    release(inbox);
    inbox->have = inbox->size = 0;
    inbox->head_have = 0;
}

bool reid_rpc_inbox_partial(const reid_rpc_inbox *inbox)
{
    return inbox->head_have > 0;
}

static reid_status begin_message(reid_rpc_inbox *inbox, reid_error *err)
{
    const uint8_t *h = inbox->head;
    size_t size = (size_t)h[1] << 24 | (size_t)h[2] << 16 | (size_t)h[3] << 8 | h[4];
    if (h[0] == 1)
        return reid_fail(
            err, REID_ERR_UNSUPPORTED,
            "compressed messages are not supported; send them with grpc-encoding identity");
    if (h[0] != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "a message begins with flag %u, which is neither 0 nor 1", h[0]);
    if (size > inbox->max_bytes)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "a message of %zu bytes is longer than the %zu bytes allowed", size,
                         inbox->max_bytes);
    inbox->size = size;
    inbox->have = 0;
    return REID_OK;
}

static reid_status make_room(reid_rpc_inbox *inbox, size_t wanted, reid_error *err)
{
    if (wanted <= inbox->capacity)
        return REID_OK;
    size_t capacity = REID_MAX(inbox->capacity * 2, (size_t)FIRST_CAPACITY);
    capacity = REID_MIN(REID_MAX(capacity, wanted), inbox->size);
    size_t more = capacity - inbox->capacity;
    reid_rpc_quota *quota = inbox->quota;
    if (quota && more > quota->limit - REID_MIN(quota->used, quota->limit))
        return reid_fail(
            err, REID_ERR_EXHAUSTED,
            "too many unfinished messages are being received at the moment; try again");
    uint8_t *data = reid_alloc_grow(inbox->data, capacity, 1);
    if (!data)
        return reid_fail(err, REID_ERR_EXHAUSTED, "there is no memory for a message of %zu bytes",
                         inbox->size);
    inbox->data = data;
    inbox->capacity = capacity;
    if (quota)
        quota->used += more;
    return REID_OK;
}

reid_status reid_rpc_inbox_feed(reid_rpc_inbox *inbox, const uint8_t **bytes, size_t *size,
                                const uint8_t **ret_message, size_t *ret_size, reid_error *err)
{
    *ret_message = NULL;
    if (inbox->head_have == 0)
        release(inbox); /* the message that the last call gave out */
    while (inbox->head_have<HEAD_BYTES && * size> 0) {
        inbox->head[inbox->head_have++] = *(*bytes)++;
        (*size)--;
        if (inbox->head_have == HEAD_BYTES)
            REID_TRY(begin_message(inbox, err));
    }
    if (inbox->head_have < HEAD_BYTES)
        return REID_OK;
    size_t take = REID_MIN(inbox->size - inbox->have, *size);
    if (inbox->have == 0 && take == inbox->size) { /* whole in the input: no copy */
        *ret_message = *bytes;
    } else if (take > 0) {
        REID_TRY(make_room(inbox, inbox->have + take, err));
        memcpy(inbox->data + inbox->have, *bytes, take);
        inbox->have += take;
        if (inbox->have == inbox->size)
            *ret_message = inbox->data;
    }
    *bytes += take;
    *size -= take;
    if (*ret_message) {
        *ret_size = inbox->size;
        inbox->head_have = 0;
    }
    return REID_OK;
}

/* ---- outbox ---- */

typedef struct reid_rpc_chunk {
    struct reid_rpc_chunk *next;
    size_t size, sent;
    uint8_t bytes[];
} reid_rpc_chunk;

static void note_level(reid_rpc_outbox *outbox)
{
    if (outbox->bytes > outbox->max_bytes / 4)
        outbox->crossed = true;
}

/* Who has a message waiting leaves the second half to those who have none, and the last part of
 * the whole is for those who have read all that they were sent. */
uint64_t reid_rpc_outbox_share(const reid_rpc_outbox *outbox)
{
    uint64_t share = outbox->quota_share;
    if (outbox->bytes > 0)
        return share / 2;
    return outbox->taken > 0 ? REID_MIN(share + outbox->quota->limit / 8, outbox->quota->limit)
                             : share;
}

/* A chunk with room for a message of this size, at the end of the queue. */
static reid_status append(reid_rpc_outbox *outbox, size_t size, size_t max_message_bytes,
                          uint8_t **ret_message)
{
    if (size > UINT32_MAX || (max_message_bytes > 0 && size > max_message_bytes))
        return REID_ERR_INVALID;
    size_t framed = size + HEAD_BYTES;
    reid_rpc_quota *quota = outbox->quota;
    reid_rpc_chunk *chunk = NULL;
    bool empty = outbox->bytes == 0;
    bool fits = empty || framed <= outbox->max_bytes - REID_MIN(outbox->bytes, outbox->max_bytes);
    bool room = !quota || quota->used + framed <= reid_rpc_outbox_share(outbox);
    outbox->starved = empty && !room;
    fits = fits && room;
    if (fits)
        chunk = malloc(sizeof *chunk + framed);
    if (!chunk) {
        outbox->refused = true;
        return REID_ERR_EXHAUSTED;
    }
    if (quota)
        quota->used += framed;
    *chunk = (reid_rpc_chunk){.size = framed};
    chunk->bytes[0] = 0;
    for (int i = 0; i < 4; i++)
        chunk->bytes[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    if (outbox->tail)
        outbox->tail->next = chunk;
    else
        outbox->head = chunk;
    outbox->tail = chunk;
    outbox->bytes += framed;
    note_level(outbox);
    *ret_message = chunk->bytes + HEAD_BYTES;
    return REID_OK;
}

reid_status reid_rpc_outbox_push(reid_rpc_outbox *outbox, const ProtobufCMessage *message,
                                 size_t max_message_bytes)
{
    uint8_t *bytes;
    REID_TRY(
        append(outbox, protobuf_c_message_get_packed_size(message), max_message_bytes, &bytes));
    protobuf_c_message_pack(message, bytes);
    return REID_OK;
}

reid_status reid_rpc_outbox_push_packed(reid_rpc_outbox *outbox, const void *bytes, size_t size,
                                        size_t max_message_bytes)
{
    uint8_t *room;
    REID_TRY(append(outbox, size, max_message_bytes, &room));
    memcpy(room, bytes, size);
    return REID_OK;
}

static void drop_head(reid_rpc_outbox *outbox)
{
    reid_rpc_chunk *chunk = outbox->head;
    outbox->bytes -= chunk->size - chunk->sent;
    outbox->head = chunk->next;
    if (!outbox->head)
        outbox->tail = NULL;
    reid_rpc_quota_give(outbox->quota, chunk->size);
    free(chunk);
}

size_t reid_rpc_outbox_read(reid_rpc_outbox *outbox, uint8_t *buffer, size_t size)
{
    size_t done = 0;
    while (done < size && outbox->head) {
        reid_rpc_chunk *chunk = outbox->head;
        size_t take = REID_MIN(chunk->size - chunk->sent, size - done);
        memcpy(buffer + done, chunk->bytes + chunk->sent, take);
        done += take;
        chunk->sent += take;
        outbox->bytes -= take;
        outbox->taken += take;
        if (chunk->sent == chunk->size)
            drop_head(outbox);
    }
    return done;
}

bool reid_rpc_outbox_take_drain(reid_rpc_outbox *outbox)
{
    bool room = (outbox->crossed && outbox->bytes <= outbox->max_bytes / 4) ||
                (outbox->refused && !outbox->starved && outbox->bytes == 0);
    if (room)
        outbox->crossed = outbox->refused = false;
    return room;
}

void reid_rpc_outbox_drop(reid_rpc_outbox *outbox)
{
    if (!outbox->head)
        return;
    reid_rpc_chunk *kept = outbox->head->sent > 0 ? outbox->head : NULL;
    if (kept)
        outbox->head = kept->next;
    while (outbox->head)
        drop_head(outbox);
    if (kept) {
        kept->next = NULL;
        outbox->head = outbox->tail = kept;
        outbox->bytes = kept->size - kept->sent;
    }
    outbox->crossed = outbox->refused = outbox->starved = false;
}

void reid_rpc_outbox_fini(reid_rpc_outbox *outbox)
{
    while (outbox->head)
        drop_head(outbox);
}
