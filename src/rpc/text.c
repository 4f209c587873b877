#include "rpc/text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

/* The longest prefix of at most `limit` bytes that does not end within a UTF-8 character. */
static size_t cut_length(const char *text, size_t limit)
{
    size_t length = strnlen(text, limit + 1);
    if (length <= limit)
        return length;
    length = limit;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

char *reid_rpc_percent_encode(const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = cut_length(text, REID_RPC_SENTENCE_BYTES - 1);
    char *out = reid_xmalloc(length * 3 + 1);
    char *end = out;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (is_plain(c)) {
            *end++ = (char)c;
            continue;
        }
        *end++ = '%';
        *end++ = digits[c >> 4];
        *end++ = digits[c & 15];
    }
    *end = '\0';
    return out;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

void reid_rpc_percent_decode(const char *text, size_t length, char *buffer, size_t buffer_bytes)
{
    REID_ASSERT(buffer_bytes > 0);
    size_t used = 0;
    for (size_t i = 0; i < length && used + 1 < buffer_bytes; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < length) {
            int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
            if (high >= 0 && low >= 0 && (high | low) != 0) {
                c = (char)(high * 16 + low);
                i += 2;
            }
        }
        buffer[used++] = c;
    }
    buffer[used] = '\0';
}

reid_status reid_rpc_timeout_parse(const char *text, size_t length, uint64_t *ret_ms)
{
    if (length < 2 || length > 9)
        return REID_ERR_INVALID;
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return REID_ERR_INVALID;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    switch (text[length - 1]) {
    case 'H':
        *ret_ms = value * 3600 * 1000;
        return REID_OK;
    case 'M':
        *ret_ms = value * 60 * 1000;
        return REID_OK;
    case 'S':
        *ret_ms = value * 1000;
        return REID_OK;
    case 'm':
        *ret_ms = value;
        return REID_OK;
    case 'u':
        *ret_ms = (value + 999) / 1000;
        return REID_OK;
    case 'n':
        *ret_ms = (value + 999999) / 1000000;
        return REID_OK;
    default:
        return REID_ERR_INVALID;
    }
}

void reid_rpc_timeout_format(char buffer[16], uint32_t timeout_ms)
{
    if (timeout_ms <= 99999999)
        snprintf(buffer, 16, "%" PRIu32 "m", timeout_ms);
    else
        snprintf(buffer, 16, "%" PRIu32 "S", timeout_ms / 1000 + 1);
}
