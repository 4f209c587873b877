/* One row per key: all that parsing, checking, dumping and help know about it. Private to this
 * folder. */
#ifndef REID_CONFIG_KEYS_H
#define REID_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

typedef struct reid_config_row {
    const char *name;
    reid_config_type type;
    const char *fallback; /* the default, written like an override */
    const char *help;

    /* What reid_config_check accepts; the elements of a list one by one. */
    const char
        *choices; /* "Adam SGD | AdamW": supported | known, but not supported yet. NULL: any text */
    bool bounded; /* min ≤ number ≤ max */
    bool above;   /* min < number */
    double min, max;
    size_t min_count, max_count; /* of a list; max_count 0: any length */
    bool only_default;           /* any other value is known, but not supported yet */
    const char *instead;         /* what to do instead of an unsupported value, or NULL */
} reid_config_row;

const reid_config_row *reid_config_row_at(size_t i);

/* "SOLVER" and "SOLVER.AMP" are sections, "SOLVER.OPT" is not. */
bool reid_config_is_section(const char *name);

/* The section nearest to `name`, written into `buffer`; NULL when none is near. */
const char *reid_config_section_nearest(const char *name, char *buffer, size_t size);

#endif
