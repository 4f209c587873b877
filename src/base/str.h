/* A growing string and small text helpers.
 *
 * reid_str: zero-initialise (REID_STR_INIT) → append → reid_str_fini, or reid_str_take to own the
 * text. `data` is always NUL-terminated and never NULL after the first append; reid_str_text gives
 * "" for an empty one.
 */
#ifndef REID_BASE_STR_H
#define REID_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_str {
    char *data;
    size_t length;
    size_t capacity;
} reid_str;

#define REID_STR_INIT ((reid_str){0})

void reid_str_fini(reid_str *s);
void reid_str_reserve(reid_str *s, size_t extra); /* room for so many more bytes */
void reid_str_clear(reid_str *s);                 /* keeps the memory */
char *reid_str_take(reid_str *s);                 /* caller frees; s is empty after */
const char *reid_str_text(const reid_str *s);
void reid_str_add(reid_str *s, const char *text);
void reid_str_add_bytes(reid_str *s, const void *bytes, size_t length);
void reid_str_add_char(reid_str *s, char c);
void reid_str_addf(reid_str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reid_str_vaddf(reid_str *s, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

bool reid_str_starts(const char *text, const char *prefix);
bool reid_str_ends(const char *text, const char *suffix);
/* Removes white space at both ends in place and returns the new start. */
char *reid_str_trim(char *text);
/* Levenshtein distance with transpositions, for "did you mean". Case is ignored. */
size_t reid_str_distance(const char *a, const char *b);

/* Whole-text conversions: the text must be nothing but the number. INVALID otherwise, value
 * untouched. */
reid_status reid_parse_int64(const char *text, int64_t *ret_value);
reid_status reid_parse_double(const char *text, double *ret_value);

/* Shortest decimal text that reads back as the same double ("0.1", "1e-07", "nan", "inf"). buffer ≥
 * 32 bytes. */
const char *reid_format_double(char buffer[32], double value);

#endif
