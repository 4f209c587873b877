/* gRPC's message framing: 1 byte compressed flag, 4 bytes length (big endian), the message. Loop's
 * thread. */
#ifndef REID_RPC_FRAME_H
#define REID_RPC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/status.h"

/* Memory that messages of many calls may hold together: unfinished requests, unread answers. */
typedef struct reid_rpc_quota {
    uint64_t used, limit;
    void (*on_given)(struct reid_rpc_quota *quota); /* some came back; NULL: not interested */
} reid_rpc_quota;

void reid_rpc_quota_give(reid_rpc_quota *quota, size_t bytes); /* back; NULL is accepted */

/* Puts messages together from bytes that come in any portions. Memory follows the bytes that have
 * really come, not the length that was announced. Zero-initialise with the two settings. */
typedef struct reid_rpc_inbox {
    size_t max_bytes;      /* of one message */
    reid_rpc_quota *quota; /* may be NULL */
    uint8_t head[5];
    unsigned head_have;
    uint8_t *data;
    size_t have, size, capacity;
} reid_rpc_inbox;

/* Takes bytes from *bytes, *size until a message is whole: *ret_message points to it, into the
 * inbox or into the input, valid until the next call; NULL when the input is used up. UNSUPPORTED:
 * compressed. INVALID: bad flag. EXHAUSTED: too long or out of quota; the inbox is of no use after
 * a failure. */
reid_status reid_rpc_inbox_feed(reid_rpc_inbox *inbox, const uint8_t **bytes, size_t *size,
                                const uint8_t **ret_message, size_t *ret_size, reid_error *err);
bool reid_rpc_inbox_partial(const reid_rpc_inbox *inbox); /* within a message */
void reid_rpc_inbox_fini(reid_rpc_inbox *inbox);

/* Messages to be sent, framed. Zero-initialise with max_bytes. */
typedef struct reid_rpc_outbox {
    size_t max_bytes;      /* queued together; an empty outbox takes more */
    reid_rpc_quota *quota; /* of all outboxes; may be NULL */
    uint64_t quota_share;  /* so much of it may be used by all for one that has no message yet */
    struct reid_rpc_chunk *head, *tail;
    size_t bytes;
    uint64_t taken; /* by _read, ever */
    bool crossed;   /* went over a quarter of max_bytes */
    bool refused;
    bool starved; /* of them: for lack of quota, which others have */
} reid_rpc_outbox;

/* EXHAUSTED: full, or no memory. INVALID: larger than max_message_bytes (0: any size). */
reid_status reid_rpc_outbox_push(reid_rpc_outbox *outbox, const ProtobufCMessage *message,
                                 size_t max_message_bytes);
/* The same of a message that is packed already; the bytes are copied. */
reid_status reid_rpc_outbox_push_packed(reid_rpc_outbox *outbox, const void *bytes, size_t size,
                                        size_t max_message_bytes);
/* When more than this of the quota would be used by all, nothing is queued here now. */
uint64_t reid_rpc_outbox_share(const reid_rpc_outbox *outbox);
/* Moves up to `size` bytes to `buffer`. */
size_t reid_rpc_outbox_read(reid_rpc_outbox *outbox, uint8_t *buffer, size_t size);
/* Whether there is room again after a lack of it; true once per lack. Of quota the outbox knows
 * nothing: the owner asks again when some has come back. */
bool reid_rpc_outbox_take_drain(reid_rpc_outbox *outbox);
/* Forgets all messages but one that has begun to leave. */
void reid_rpc_outbox_drop(reid_rpc_outbox *outbox);
void reid_rpc_outbox_fini(reid_rpc_outbox *outbox);

#endif
