/* Inside of the channel: what channel.c and stream.c share. */
#ifndef REID_RPC_CHANNEL_IMPL_H
#define REID_RPC_CHANNEL_IMPL_H

#include "rpc/address.h"
#include "rpc/channel.h"
#include "rpc/frame.h"
#include "rpc/tcp.h"
#include "rpc/wire.h"

struct reid_rpc_channel {
    reid_rpc_pump pump;
    reid_rpc_wire wire;
    char *address;
    reid_rpc_address target; /* `address`, taken apart */
    reid_rpc_tls *tls;       /* NULL: a Unix socket */
    reid_rpc_dial *dial;     /* while a TCP connection is being made */
    reid_rpc_peer peer;
    reid_rpc_channel_events events;
    void *user;
    reid_rpc_node streams;  /* all that are not freed */
    reid_rpc_alarm timeout; /* for the server to answer the preface */
    reid_rpc_alarm retry;   /* the server's backlog was full */
    uint32_t timeout_ms;
    reid_rpc_task task; /* tells on_ready and on_lost */
    bool ready, told_ready;
    bool lost, told_lost; /* once lost, the session is not touched any more */
    bool closing, wire_gone;
    reid_error why;
};

struct reid_rpc_stream {
    reid_rpc_node node;
    reid_rpc_channel *channel;
    const ProtobufCMessageDescriptor *output;
    reid_rpc_stream_events events;
    void *user;
    int32_t stream_id;
    reid_rpc_task task;
    reid_rpc_alarm alarm; /* timeout_ms */
    uint32_t timeout_ms;
    reid_rpc_inbox inbox;
    reid_rpc_outbox outbox;
    uint8_t *raw; /* received while paused: bytes raw_taken … raw_have */
    size_t raw_taken, raw_have, raw_capacity;
    bool paused;
    bool deferred;              /* nothing to send at the moment */
    bool half_closed;           /* by us */
    bool muted;                 /* no on_message any more */
    bool ended;                 /* `end` is decided */
    bool reported;              /* on_close was called */
    bool detached;              /* its HTTP/2 stream is gone */
    bool keep;                  /* the message being delivered stays with the user */
    int http_status, grpc_code; /* of the answer; -1: not yet */
    bool is_grpc;
    char sentence[sizeof((reid_error *)0)->text];
    reid_error end;
};

/* channel.c */
reid_rpc_stream *reid_rpc_channel_find(reid_rpc_channel *channel, int32_t stream_id);

/* stream.c: what the session tells a stream */
void reid_rpc_stream_header(reid_rpc_stream *stream, const char *name, size_t name_length,
                            const char *value, size_t value_length);
void reid_rpc_stream_headers_end(reid_rpc_stream *stream, bool end_of_stream);
void reid_rpc_stream_receive(reid_rpc_stream *stream, const uint8_t *bytes, size_t size);
void reid_rpc_stream_closed(reid_rpc_stream *stream, uint32_t error_code);
void reid_rpc_stream_lost(reid_rpc_stream *stream,
                          const reid_error *why); /* the connection is gone */
void reid_rpc_stream_report(reid_rpc_stream *stream, reid_status status,
                            const char *sentence); /* now, if not yet */
void reid_rpc_stream_free(reid_rpc_stream *stream);

#endif
