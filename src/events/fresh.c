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

reid_fresh_scalar *reid_event_storage_fresh(const reid_event_storage *storage, uint64_t written,
                                            size_t window, size_t *ret_count)
{
    size_t total = reid_event_storage_count(storage);
    reid_fresh_scalar *fresh = reid_xcalloc(total ? total : 1, sizeof *fresh);
    size_t count = 0;
    for (size_t i = 0; i < total; i++) {
        reid_event_scalar scalar = reid_event_storage_at(storage, i);
        if (scalar.sequence <= written)
            continue;
        fresh[count++] = (reid_fresh_scalar){
            .name = scalar.name,
            .value = reid_event_scalar_smoothed(&scalar, window),
            .iter = scalar.iter,
        };
    }
    qsort(fresh, count, sizeof *fresh, compare_fresh);
    *ret_count = count;
    return fresh;
}
