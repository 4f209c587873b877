#include "data/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"

#define HEADER_PADDING 2 /* tabulate's MIN_PADDING */

static void add_cell(reid_str *out, const char *text, size_t width)
{
    reid_str_addf(out, "| %-*s ", (int)width, text);
}

static void add_rule(reid_str *out, size_t columns, const size_t *widths)
{
    for (size_t c = 0; c < columns; c++) {
        reid_str_add(out, "|:");
        for (size_t i = 0; i < widths[c] + 1; i++)
            reid_str_add_char(out, '-');
    }
    reid_str_add(out, "|");
}

char *reid_table_pipe(size_t rows, size_t columns, const char *const *cells)
{
    size_t *widths = reid_xcalloc(columns, sizeof *widths);
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < rows; r++)
            widths[c] =
                REID_MAX(widths[c], strlen(cells[r * columns + c]) + (r == 0 ? HEADER_PADDING : 0));

    reid_str out = REID_STR_INIT;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++)
            add_cell(&out, cells[r * columns + c], widths[c]);
        reid_str_add(&out, "|");
        if (r == 0) {
            reid_str_add(&out, "\n");
            add_rule(&out, columns, widths);
        }
        if (r + 1 < rows)
            reid_str_add(&out, "\n");
    }
    free(widths);
    return reid_str_take(&out);
}
