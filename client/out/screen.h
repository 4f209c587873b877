/* A picture of a few lines that is drawn over and over at the same place of a terminal, without an
 * alternate screen: what was written before stays above it, what comes next stands below it. */
#ifndef REIDCTL_OUT_SCREEN_H
#define REIDCTL_OUT_SCREEN_H

#include <stddef.h>

#include "base/str.h"
#include "base/vec.h"

typedef struct reidctl_screen {
    size_t columns;          /* of the terminal when the picture was drawn */
    REID_VEC(size_t) widths; /* of the lines that are there, above the cursor */
} reidctl_screen;

void reidctl_screen_fini(reidctl_screen *screen);

/* The size of the terminal at standard output; 80 × 24 when it does not tell. */
void reidctl_screen_size(size_t *ret_columns, size_t *ret_lines);

/* Appends what turns the picture that is there into this one. Every line of `picture` ends with
 * '\n' and is not wider than `columns`. */
void reidctl_screen_draw(reidctl_screen *screen, const char *picture, size_t columns,
                         reid_str *out);

/* The next picture begins below: something else was written, or the program was stopped. */
void reidctl_screen_leave(reidctl_screen *screen);

#endif
