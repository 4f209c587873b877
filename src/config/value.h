/* The typed value of one key. Private to this folder.
 *
 * A scalar is a value with one element. Life: zeroed → reid_value_decode → reading →
 * reid_value_fini.
 */
#ifndef REID_CONFIG_VALUE_H
#define REID_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "config/keys.h"
#include "config/literal.h"

typedef struct reid_value {
    reid_config_type type;
    size_t count;
    union {
        int64_t *ints; /* bools too */
        double *floats;
        char **strings;
    };
    char *origin; /* "bot.yml:12"; NULL for a default */
} reid_value;

/* The type of one element: INT for INT_LIST and so on. */
reid_config_type reid_value_element_type(reid_config_type type);
bool reid_value_is_list(reid_config_type type);

/* Converts a literal to the type of the row. `origin` (copied, may be NULL) goes before the
 * sentence of an error. */
reid_status reid_value_decode(const reid_config_row *row, const reid_literal *literal,
                              const char *origin, reid_value *ret_value, reid_error *err);
void reid_value_copy(const reid_value *value, reid_value *ret_copy);
bool reid_value_equal(const reid_value *a, const reid_value *b); /* origins aside */
void reid_value_fini(reid_value *value);

/* Element `i` as a Python literal: True, 3, 0.1, 'text'. */
void reid_value_add_element(const reid_value *value, size_t i, reid_str *out);
/* The whole value as a Python literal: True, 'text', [256, 128]. */
void reid_value_add_literal(const reid_value *value, reid_str *out);
/* `text` as a Python string literal. */
void reid_value_add_quoted(const char *text, reid_str *out);
/* A float that every reader takes for one: "0.1", "1.0", "1.0e-07", ".inf". */
void reid_value_add_float(double number, reid_str *out);
/* Whether a string key's text would be read as something else when it is decoded once more. */
bool reid_value_needs_quotes(const char *text);

/* `text` for a message: always UTF-8, without control characters, not longer than the buffer.
 * Returns the buffer.
 */
const char *reid_value_show(const char *text, char *buffer, size_t size);

#endif
