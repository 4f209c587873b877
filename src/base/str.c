#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

/* Longer names are not worth a hint; the bound keeps the distance cheap whatever a peer sends. */
#define DISTANCE_MAX_LENGTH 256

void reid_str_reserve(reid_str *s, size_t extra)
{
    REID_ASSERT(extra < SIZE_MAX / 2 - s->length);
    size_t wanted = s->length + extra + 1;
    if (wanted <= s->capacity)
        return;
    size_t capacity = s->capacity ? s->capacity * 2 : 64;
    if (capacity < wanted)
        capacity = wanted;
    s->data = reid_xrealloc(s->data, capacity);
    s->capacity = capacity;
}

void reid_str_fini(reid_str *s)
{
    if (!s)
        return;
    free(s->data);
    *s = REID_STR_INIT;
}

void reid_str_clear(reid_str *s)
{
    s->length = 0;
    if (s->data)
        s->data[0] = '\0';
}

char *reid_str_take(reid_str *s)
{
    char *text = s->data ? s->data : reid_xstrdup("");
    *s = REID_STR_INIT;
    return text;
}

const char *reid_str_text(const reid_str *s)
{
    return s->data ? s->data : "";
}

void reid_str_add(reid_str *s, const char *text)
{
    reid_str_add_bytes(s, text, strlen(text));
}

void reid_str_add_bytes(reid_str *s, const void *bytes, size_t length)
{
    reid_str_reserve(s, length);
    if (length > 0)
        memcpy(s->data + s->length, bytes, length);
    s->length += length;
    s->data[s->length] = '\0';
}

void reid_str_add_char(reid_str *s, char c)
{
    reid_str_add_bytes(s, &c, 1);
}

void reid_str_addf(reid_str *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    reid_str_vaddf(s, format, args);
    va_end(args);
}

void reid_str_vaddf(reid_str *s, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    reid_str_reserve(s, 0);
    size_t room = s->capacity - s->length;
    int length = vsnprintf(s->data + s->length, room, format, args);
    REID_ASSERT(length >= 0);
    if ((size_t)length >= room) {
        reid_str_reserve(s, (size_t)length);
        vsnprintf(s->data + s->length, (size_t)length + 1, format, again);
    }
    va_end(again);
    s->length += (size_t)length;
}

bool reid_str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool reid_str_ends(const char *text, const char *suffix)
{
    size_t length = strlen(text);
    size_t tail = strlen(suffix);
    return tail <= length && memcmp(text + length - tail, suffix, tail) == 0;
}

char *reid_str_trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment: three rows of the dynamic-programming table are enough. */
size_t reid_str_distance(const char *a, const char *b)
{
    size_t rows = strlen(a);
    size_t columns = strlen(b);
    if (rows > DISTANCE_MAX_LENGTH || columns > DISTANCE_MAX_LENGTH)
        return REID_MAX(rows, columns);
    size_t table[3][DISTANCE_MAX_LENGTH + 1];
    size_t *before = table[0], *above = table[1], *row = table[2];
    for (size_t j = 0; j <= columns; j++)
        row[j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t changed = above[j - 1] + (same_letter(a[i - 1], b[j - 1]) ? 0 : 1);
            size_t best = REID_MIN(changed, REID_MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                best = REID_MIN(best, before[j - 2] + 1);
            row[j] = best;
        }
    }
    return row[columns];
}

reid_status reid_parse_int64(const char *text, int64_t *ret_value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*digits))
        return REID_ERR_INVALID;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end != '\0' || errno != 0)
        return REID_ERR_INVALID;
    *ret_value = value;
    return REID_OK;
}

reid_status reid_parse_double(const char *text, double *ret_value)
{
    const char *body = text + (*text == '-' || *text == '+');
    bool hexadecimal = body[0] == '0' && (body[1] == 'x' || body[1] == 'X');
    if (*body == '\0' || isspace((unsigned char)*body) || hexadecimal || strchr(text, '('))
        return REID_ERR_INVALID;
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool overflow = errno == ERANGE && isinf(value);
    if (end == text || *end != '\0' || overflow)
        return REID_ERR_INVALID;
    *ret_value = value;
    return REID_OK;
}

/* 15 digits always survive the way to a double and back, 17 always name one double. */
const char *reid_format_double(char buffer[32], double value)
{
    if (isnan(value)) {
        snprintf(buffer, 32, "nan");
        return buffer;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buffer, 32, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value)
            break;
    }
    return buffer;
}
