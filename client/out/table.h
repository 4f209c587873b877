/* A table for people: cells row by row, columns as wide as their widest cell, two spaces between.
 *
 *     reidctl_table table = {.columns = 3, .elastic = 1};
 *     reidctl_table_add(&table, "ID", ""); …
 *     reidctl_table_format(&table, 80, &out); reidctl_table_fini(&table);
 */
#ifndef REIDCTL_OUT_TABLE_H
#define REIDCTL_OUT_TABLE_H

#include <stddef.h>

#include "base/str.h"
#include "base/vec.h"

typedef struct reidctl_cell {
    char *text;        /* clean */
    const char *color; /* escape sequence before it, or "" */
} reidctl_cell;

typedef struct reidctl_table {
    size_t columns;
    size_t elastic; /* the column that gives way on a narrow terminal */
    REID_VEC(reidctl_cell) cells;
} reidctl_table;

/* The text is copied and cleaned; an empty one becomes "-", so that every row has as many words.
 * `color` is kept, not copied. */
void reidctl_table_add(reidctl_table *table, const char *text, const char *color);
void reidctl_table_add_age(reidctl_table *table, double seconds);
/* `width` in cells is not exceeded as long as the elastic column has at least 8; 0: no limit. */
void reidctl_table_format(const reidctl_table *table, size_t width, reid_str *out);
void reidctl_table_fini(reidctl_table *table);

#endif
