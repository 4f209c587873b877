/* An HTTP/2 client that does what it is told, right or wrong: frames made by hand over a blocking
 * Unix socket. */
#ifndef REID_TESTS_RPC_RAW_H
#define REID_TESTS_RPC_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

typedef struct raw_client raw_client;

typedef struct raw_frame {
    uint8_t type, flags;
    uint32_t stream;
    size_t size;
    uint8_t *payload; /* valid until the next read */
} raw_frame;

typedef struct raw_answer {
    int http_status, grpc_status; /* -1: none came */
    char message[400];            /* grpc-message as it came */
    size_t data_bytes;
    int reset;   /* error code of RST_STREAM, -1: none */
    int goaway;  /* error code of GOAWAY, -1: none */
    bool closed; /* the connection ended first */
} raw_answer;

raw_client *raw_connect(const char *path);
void raw_free(raw_client *raw); /* closes */

/* False when the server has closed. */
bool raw_send(raw_client *raw, const void *bytes, size_t size);
/* Without waiting: the bytes that the socket took. */
size_t raw_try_send(raw_client *raw, const void *bytes, size_t size);
void raw_begin(raw_client *raw); /* preface and SETTINGS */
bool raw_send_frame(raw_client *raw, uint8_t type, uint8_t flags, uint32_t stream,
                    const void *payload, size_t size);
/* Frame as bytes; returns its size. */
size_t raw_make_frame(uint8_t *buffer, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t size);
/* name, value, name, value, …, NULL */
bool raw_send_headers(raw_client *raw, uint32_t stream, uint8_t flags, const char *const *pairs);
size_t raw_make_headers(uint8_t *buffer, const char *const *pairs); /* the header block */
/* The headers of a good request. */
bool raw_request(raw_client *raw, uint32_t stream, const char *path);
/* Flag, length and bytes of one message in one DATA frame. */
bool raw_message(raw_client *raw, uint32_t stream, uint8_t data_flags, uint8_t compressed,
                 const void *bytes, size_t size);

/* False at the end of the connection, or when nothing comes for 10 s. */
bool raw_read(raw_client *raw, raw_frame *ret_frame);
/* Reads until the stream has ended, GOAWAY came, or the connection is closed. */
raw_answer raw_wait(raw_client *raw, uint32_t stream);
/* Reads until the connection is closed; the answer holds a GOAWAY that came. */
raw_answer raw_wait_closed(raw_client *raw);

#endif
