#include "out/table.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "out/style.h"
#include "out/text.h"

#define GAP 2
#define ELASTIC_MIN 8

void reidctl_table_add(reidctl_table *table, const char *text, const char *color)
{
    reid_str clean = REID_STR_INIT;
    reidctl_add_clean(&clean, *text != '\0' ? text : "-");
    reidctl_cell cell = {.text = reid_str_take(&clean), .color = color};
    reid_vec_push(&table->cells, cell);
}

void reidctl_table_add_age(reidctl_table *table, double seconds)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_age(&text, seconds);
    reidctl_table_add(table, reid_str_text(&text), "");
    reid_str_fini(&text);
}

static void measure(const reidctl_table *table, size_t limit, size_t *widths)
{
    size_t total = (table->columns - 1) * GAP;
    for (size_t i = 0; i < table->cells.count; i++) {
        size_t *width = &widths[i % table->columns];
        *width = REID_MAX(*width, reidctl_text_width(table->cells.items[i].text));
    }
    for (size_t i = 0; i < table->columns; i++)
        total += widths[i];
    size_t *elastic = &widths[table->elastic];
    size_t least = REID_MIN(*elastic, (size_t)ELASTIC_MIN);
    if (limit > 0 && total > limit)
        *elastic = *elastic > total - limit + least ? *elastic - (total - limit) : least;
}

void reidctl_table_format(const reidctl_table *table, size_t width, reid_str *out)
{
    size_t *widths = reid_xcalloc(table->columns, sizeof *widths);
    measure(table, width, widths);
    for (size_t i = 0; i < table->cells.count; i++) {
        const reidctl_cell *cell = &table->cells.items[i];
        size_t column = i % table->columns;
        reid_str_add(out, cell->color);
        size_t start = out->length;
        reidctl_add_cut(out, cell->text, widths[column]);
        size_t used = reidctl_text_width(out->data != NULL ? out->data + start : "");
        if (*cell->color != '\0')
            reid_str_add(out, reidctl_plain(true));
        if (column + 1 == table->columns)
            reid_str_add(out, "\n");
        else
            reidctl_add_pad(out, used, widths[column] + GAP);
    }
    free(widths);
}

void reidctl_table_fini(reidctl_table *table)
{
    for (size_t i = 0; i < table->cells.count; i++)
        free(table->cells.items[i].text);
    reid_vec_fini(&table->cells);
}
