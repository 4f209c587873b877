/* UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef REID_BASE_UTF8_H
#define REID_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that begins here, 0 when it is none. `text` ends with a NUL, which is a
 * character of 1 byte. */
size_t reid_utf8_length(const char *text);
bool reid_utf8_is_valid(const char *text);
/* A copy in which bytes that are not UTF-8 have become '?'. NULL gives "". The caller frees. */
char *reid_utf8_clean(const char *text);

#endif
