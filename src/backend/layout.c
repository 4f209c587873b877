/* What a backend's own code needs of this folder; compiled into each module as well. */
#include <stdlib.h>
#include <string.h>

#include "backend/op.h"
#include "base/alloc.h"

void reid_backend_fini(reid_backend *backend)
{
    for (size_t i = 0; i < backend->layout_count; i++)
        free(backend->layouts[i]);
    free(backend->layouts);
}

const reid_layout *reid_layout_intern(reid_backend *backend, const reid_layout *proto, size_t size)
{
    for (size_t i = 0; i < backend->layout_count; i++)
        if (memcmp(backend->layouts[i], proto, size) == 0)
            return backend->layouts[i];
    reid_layout *layout = reid_xmalloc(size);
    memcpy(layout, proto, size);
    backend->layouts =
        reid_xrealloc(backend->layouts, (backend->layout_count + 1) * sizeof *backend->layouts);
    backend->layouts[backend->layout_count++] = layout;
    return layout;
}

const char *reid_op_kind_name(reid_op_kind kind)
{
    static const char *const kinds[REID_OP_KINDS] = {
        "conv2d",          "batch_norm", "relu",          "add",     "max_pool",
        "global_avg_pool", "linear",     "cross_entropy", "triplet", "accuracy",
    };
    return kind >= 0 && kind < REID_OP_KINDS ? kinds[kind] : "unknown";
}
