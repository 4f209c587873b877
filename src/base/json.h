/* JSON: a streaming writer into a reid_str, and a reader (over jansson) with bounded depth and
 * size. */
#ifndef REID_BASE_JSON_H
#define REID_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

/* Writer: commas are put by itself. Numbers are the shortest text that reads back the same; NaN and
 * infinities are written as NaN, Infinity, -Infinity, as Python's json does (metrics.json). */
typedef struct reid_json_writer {
    reid_str *out;
    bool need_comma;
    const char *item_separator; /* "," unless set to ", " */
    const char *key_separator;  /* ":" unless set to ": " */
} reid_json_writer;

reid_json_writer reid_json_begin(reid_str *out);
void reid_json_object(reid_json_writer *w); /* { */
void reid_json_end_object(reid_json_writer *w);
void reid_json_array(reid_json_writer *w);
void reid_json_end_array(reid_json_writer *w);
void reid_json_key(reid_json_writer *w, const char *key);
void reid_json_string(reid_json_writer *w, const char *text); /* NULL gives null */
void reid_json_int(reid_json_writer *w, int64_t value);
void reid_json_double(reid_json_writer *w, double value);
void reid_json_bool(reid_json_writer *w, bool value);
void reid_json_null(reid_json_writer *w);

/* Reader: a tree. Children belong to the root; free the root only. */
typedef struct reid_json reid_json;
reid_status reid_json_parse(const char *text, size_t length, reid_json **ret_root, reid_error *err);
void reid_json_free(reid_json *root);
typedef enum reid_json_type {
    REID_JSON_NULL,
    REID_JSON_BOOL,
    REID_JSON_INT,
    REID_JSON_DOUBLE,
    REID_JSON_STRING,
    REID_JSON_ARRAY,
    REID_JSON_OBJECT
} reid_json_type;
reid_json_type reid_json_type_of(const reid_json *value); /* NULL pointer gives REID_JSON_NULL */
const reid_json *reid_json_get(const reid_json *object,
                               const char *key); /* NULL when absent or not an object */
const reid_json *reid_json_at(const reid_json *array, size_t index);
size_t reid_json_count(const reid_json *array_or_object);
/* Members in file order. */
const char *reid_json_member(const reid_json *object, size_t index, const reid_json **ret_value);
int64_t reid_json_as_int(const reid_json *value, int64_t otherwise);
double reid_json_as_double(const reid_json *value, double otherwise); /* ints too */
bool reid_json_as_bool(const reid_json *value, bool otherwise);
const char *reid_json_as_string(const reid_json *value, const char *otherwise);

#endif
