#include "events/fresh.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static int compare_fresh(const void *a, const void *b)
{
    const reid_fresh_scalar *x = a;
    const reid_fresh_scalar *y = b;
    if (x->iter != y->iter)
        return x->iter < y->iter ? -1 : 1;
    return strcmp(x->name, y->name);
}

void reid_event_storage_fresh(const reid_event_storage *storage, uint64_t written, size_t window,
                              reid_fresh_list *list)
{
    size_t total = reid_event_storage_count(storage);
    list->count = 0;
    reid_vec_reserve(list, total);
    for (size_t i = 0; i < total; i++) {
        reid_event_scalar scalar = reid_event_storage_at(storage, i);
        if (scalar.sequence <= written)
            continue;
        list->items[list->count++] = (reid_fresh_scalar){
            .name = scalar.name,
            .value = reid_event_scalar_smoothed(&scalar, window),
            .iter = scalar.iter,
        };
    }
    if (list->count > 0)
        qsort(list->items, list->count, sizeof *list->items, compare_fresh);
}
