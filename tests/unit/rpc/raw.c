#include "raw.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

struct raw_client {
    int fd;
    nghttp2_hd_inflater *inflater;
    uint8_t *payload;
};

raw_client *raw_connect(const char *path)
{
    raw_client *raw = reid_xcalloc(1, sizeof *raw);
    raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    REID_ASSERT(connect(raw->fd, (struct sockaddr *)&address, sizeof address) == 0);
    REID_ASSERT(nghttp2_hd_inflate_new(&raw->inflater) == 0);
    raw->payload = reid_xmalloc(1 << 24);
    return raw;
}

void raw_free(raw_client *raw)
{
    if (!raw)
        return;
    close(raw->fd);
    nghttp2_hd_inflate_del(raw->inflater);
    free(raw->payload);
    free(raw);
}

bool raw_send(raw_client *raw, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t n = send(raw->fd, at, size, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

size_t raw_try_send(raw_client *raw, const void *bytes, size_t size)
{
    ssize_t n = send(raw->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? 0 : (size_t)n;
}

void raw_begin(raw_client *raw)
{
    raw_send(raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    raw_send_frame(raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

size_t raw_make_frame(uint8_t *buffer, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t size)
{
    const uint8_t head[9] = {(uint8_t)(size >> 16),
                             (uint8_t)(size >> 8),
                             (uint8_t)size,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    memcpy(buffer, head, 9);
    if (size > 0)
        memcpy(buffer + 9, payload, size);
    return 9 + size;
}

bool raw_send_frame(raw_client *raw, uint8_t type, uint8_t flags, uint32_t stream,
                    const void *payload, size_t size)
{
    uint8_t *buffer = reid_xmalloc(9 + size);
    bool sent = raw_send(raw, buffer, raw_make_frame(buffer, type, flags, stream, payload, size));
    free(buffer);
    return sent;
}

/* HPACK: an integer with a 7-bit prefix. */
static uint8_t *put_length(uint8_t *at, size_t length)
{
    if (length < 127) {
        *at++ = (uint8_t)length;
        return at;
    }
    *at++ = 127;
    for (length -= 127; length >= 128; length >>= 7)
        *at++ = (uint8_t)(length | 128);
    *at++ = (uint8_t)length;
    return at;
}

size_t raw_make_headers(uint8_t *buffer, const char *const *pairs)
{
    uint8_t *at = buffer;
    for (; pairs[0]; pairs += 2) {
        *at++ = 0; /* literal, not indexed, new name */
        for (int i = 0; i < 2; i++) {
            size_t length = strlen(pairs[i]);
            at = put_length(at, length);
            memcpy(at, pairs[i], length);
            at += length;
        }
    }
    return (size_t)(at - buffer);
}

bool raw_send_headers(raw_client *raw, uint32_t stream, uint8_t flags, const char *const *pairs)
{
    size_t room = 16;
    for (int i = 0; pairs[i]; i++)
        room += strlen(pairs[i]) + 8;
    uint8_t *block = reid_xmalloc(room);
    size_t size = raw_make_headers(block, pairs);
    bool sent = raw_send_frame(raw, NGHTTP2_HEADERS, flags, stream, block, size);
    free(block);
    return sent;
}

bool raw_request(raw_client *raw, uint32_t stream, const char *path)
{
    const char *const pairs[] = {
        ":method",      "POST",      ":scheme", "http",     ":path",        path,
        ":authority",   "localhost", "te",      "trailers", "content-type", "application/grpc",
        "grpc-timeout", "30S",       NULL};
    return raw_send_headers(raw, stream, NGHTTP2_FLAG_END_HEADERS, pairs);
}

bool raw_message(raw_client *raw, uint32_t stream, uint8_t data_flags, uint8_t compressed,
                 const void *bytes, size_t size)
{
    uint8_t *buffer = reid_xmalloc(5 + size);
    buffer[0] = compressed;
    for (int i = 0; i < 4; i++)
        buffer[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    if (size > 0)
        memcpy(buffer + 5, bytes, size);
    bool sent = raw_send_frame(raw, NGHTTP2_DATA, data_flags, stream, buffer, 5 + size);
    free(buffer);
    return sent;
}

static bool read_exactly(raw_client *raw, uint8_t *buffer, size_t size)
{
    while (size > 0) {
        struct pollfd fd = {.fd = raw->fd, .events = POLLIN};
        if (poll(&fd, 1, 10000) <= 0)
            return false;
        ssize_t n = recv(raw->fd, buffer, size, 0);
        if (n <= 0)
            return false;
        buffer += n;
        size -= (size_t)n;
    }
    return true;
}

bool raw_read(raw_client *raw, raw_frame *ret_frame)
{
    uint8_t h[9];
    if (!read_exactly(raw, h, 9))
        return false;
    raw_frame frame = {.type = h[3], .flags = h[4], .payload = raw->payload};
    frame.size = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
    frame.stream = (uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8];
    if (!read_exactly(raw, raw->payload, frame.size))
        return false;
    *ret_frame = frame;
    return true;
}

static void read_headers(raw_client *raw, const raw_frame *frame, raw_answer *answer, bool ours)
{
    const uint8_t *at = frame->payload;
    size_t left = frame->size;
    int flags = 0;
    while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
        nghttp2_nv nv;
        ssize_t n = nghttp2_hd_inflate_hd2(raw->inflater, &nv, &flags, at, left, 1);
        REID_ASSERT(n >= 0);
        at += n;
        left -= (size_t)n;
        if (!(flags & NGHTTP2_HD_INFLATE_EMIT) || !ours)
            continue;
        const char *name = (const char *)nv.name, *value = (const char *)nv.value;
        if (strcmp(name, ":status") == 0)
            answer->http_status = atoi(value);
        else if (strcmp(name, "grpc-status") == 0)
            answer->grpc_status = atoi(value);
        else if (strcmp(name, "grpc-message") == 0)
            snprintf(answer->message, sizeof answer->message, "%s", value);
    }
    nghttp2_hd_inflate_end_headers(raw->inflater);
}

static int error_code(const uint8_t *at)
{
    return (int)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

static raw_answer wait_for(raw_client *raw, uint32_t stream, bool until_closed)
{
    raw_answer answer = {.http_status = -1, .grpc_status = -1, .reset = -1, .goaway = -1};
    raw_frame frame;
    while (raw_read(raw, &frame)) {
        bool ours = frame.stream == stream;
        if (frame.type == NGHTTP2_HEADERS)
            read_headers(raw, &frame, &answer, ours);
        if (frame.type == NGHTTP2_DATA && ours)
            answer.data_bytes += frame.size;
        if (frame.type == NGHTTP2_RST_STREAM && ours)
            answer.reset = error_code(frame.payload);
        if (frame.type == NGHTTP2_GOAWAY)
            answer.goaway = error_code(frame.payload + 4);
        bool ended = answer.reset >= 0 || answer.goaway >= 0 ||
                     (ours && (frame.type == NGHTTP2_HEADERS || frame.type == NGHTTP2_DATA) &&
                      (frame.flags & NGHTTP2_FLAG_END_STREAM));
        if (ended && !until_closed)
            return answer;
    }
    answer.closed = true;
    return answer;
}

raw_answer raw_wait(raw_client *raw, uint32_t stream)
{
    return wait_for(raw, stream, false);
}

raw_answer raw_wait_closed(raw_client *raw)
{
    return wait_for(raw, UINT32_MAX, true);
}
