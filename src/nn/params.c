#include "nn/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/describe.h"

/* Offsets in the flat buffers are multiples of this many floats (64 bytes). */
#define ALIGN_FLOATS ((size_t)16)

static size_t round_floats(size_t bytes)
{
    return (bytes / sizeof(float) + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

/* PyTorch lists a module's own parameters before those of its children, children in order of
 * registration. The key of a parameter is therefore, for each module on its path, the first node
 * that belongs to it; own parameters sort first. */
typedef struct order_key {
    size_t param;     /* index in creation order */
    int depth;        /* modules on the path */
    size_t first[16]; /* first node of each module */
} order_key;

static size_t first_node_under(const reid_graph *g, const char *prefix, size_t length)
{
    for (size_t i = 0; i < g->nodes.count; i++) {
        const char *name = g->nodes.items[i].name;
        if (strncmp(name, prefix, length) == 0 && (name[length] == '\0' || name[length] == '.'))
            return i;
    }
    return g->nodes.count;
}

static order_key key_of(const reid_graph *g, const char *layer, size_t param)
{
    order_key key = {.param = param};
    for (const char *p = layer; key.depth < 16; p++) {
        if (*p == '.' || *p == '\0')
            key.first[key.depth++] = first_node_under(g, layer, (size_t)(p - layer));
        if (*p == '\0')
            break;
    }
    return key;
}

static int compare_keys(const void *left, const void *right)
{
    const order_key *a = left, *b = right;
    for (int i = 0; i < a->depth && i < b->depth; i++)
        if (a->first[i] != b->first[i])
            return a->first[i] < b->first[i] ? -1 : 1;
    if (a->depth != b->depth)
        return a->depth < b->depth ? -1 : 1;
    return a->param < b->param ? -1 : a->param > b->param;
}

static void add_param(reid_params *p, const reid_graph_node *node, int index,
                      const reid_layout *layout)
{
    const reid_graph_param *source = &node->param[index];
    reid_param *item = &p->items[p->count++];
    item->name = reid_xasprintf("%s.%s", node->name, source->suffix);
    item->rank = source->shape.rank;
    memcpy(item->shape, source->shape.dim, sizeof item->shape);
    item->kind = source->kind;
    item->trainable = source->trainable;
    item->layout = layout;
    item->size = round_floats(layout->bytes);
}

static void add_buffer(reid_params *p, const char *layer, const char *suffix, int64_t channels)
{
    reid_param_buffer *buffer = &p->buffers[p->buffer_count++];
    buffer->name = reid_xasprintf("%s.%s", layer, suffix);
    buffer->rank = channels > 0 ? 1 : 0;
    buffer->integer = channels == 0;
    reid_shape shape = channels > 0 ? reid_shape_1d(channels) : reid_shape_scalar();
    memcpy(buffer->shape, shape.dim, sizeof buffer->shape);
}

/* Fills items (creation order) and buffers; no memory for the numbers yet. */
static reid_status collect(reid_params *p, const reid_graph *g, const reid_params_options *options,
                           reid_error *err)
{
    p->items = reid_xcalloc(g->nodes.count * REID_OP_PARAMS + 1, sizeof *p->items);
    p->buffers = reid_xcalloc(g->nodes.count * REID_OP_STATES + 1, sizeof *p->buffers);
    for (size_t i = 0; i < g->nodes.count; i++) {
        const reid_graph_node *node = &g->nodes.items[i];
        reid_op_desc desc = reid_describe_node(g, p->backend, options, node);
        desc.training = true;
        for (int k = 0; k < node->param_count; k++) {
            const reid_layout *layout = NULL;
            REID_TRY(p->backend->impl->param_layout(p->backend, &desc, k, &node->param[k].shape,
                                                    &layout, err));
            add_param(p, node, k, layout);
        }
        if (node->kind == REID_OP_BATCH_NORM) {
            int64_t channels = node->param[0].shape.dim[0];
            add_buffer(p, node->name, "running_mean", channels);
            add_buffer(p, node->name, "running_var", channels);
            add_buffer(p, node->name, "num_batches_tracked", 0);
        }
    }
    return REID_OK;
}

/* Offsets: trained parameters in reverse of creation, then the frozen ones. Then sorts items into
 * PyTorch's order. */
static void place(reid_params *p, const reid_graph *g)
{
    size_t offset = 0;
    for (int trainable = 1; trainable >= 0; trainable--) {
        for (size_t i = p->count; i-- > 0;)
            if (p->items[i].trainable == (bool)trainable) {
                p->items[i].offset = offset;
                offset += p->items[i].size;
            }
        if (trainable)
            p->trainable = offset;
    }
    p->total = offset;
    order_key *keys = reid_xcalloc(p->count + 1, sizeof *keys);
    reid_param *sorted = reid_xcalloc(p->count + 1, sizeof *sorted);
    size_t next = 0;
    for (size_t i = 0; i < g->nodes.count; i++)
        for (int k = 0; k < g->nodes.items[i].param_count; k++, next++)
            keys[next] = key_of(g, g->nodes.items[i].name, next);
    qsort(keys, p->count, sizeof *keys, compare_keys);
    for (size_t i = 0; i < p->count; i++)
        sorted[i] = p->items[keys[i].param];
    free(keys);
    free(p->items);
    p->items = sorted;
}

static void fill(float *data, size_t count, float value, reid_backend *backend)
{
    float *host = reid_xmalloc(count * sizeof *host);
    for (size_t i = 0; i < count; i++)
        host[i] = value;
    reid_backend_copy_in(backend, data, host, count * sizeof *host);
    free(host);
}

static size_t buffer_floats(const reid_param_buffer *buffer)
{
    return buffer->rank ? round_floats((size_t)buffer->shape[0] * sizeof(float)) : ALIGN_FLOATS;
}

static reid_status no_room(const reid_params *p, reid_error *err)
{
    reid_error why = {0};
    reid_backend_status(p->backend, &why);
    return reid_fail(err, REID_ERR_EXHAUSTED, "not enough memory for the parameters (%zu MiB)%s%s",
                     2 * p->total * sizeof(float) >> 20, why.text[0] ? "; " : "", why.text);
}

static reid_status allocate(reid_params *p, const reid_params_options *options, reid_error *err)
{
    size_t floats = 0;
    for (size_t i = 0; i < p->buffer_count; i++)
        floats += buffer_floats(&p->buffers[i]);
    p->buffer_bytes = floats * sizeof(float);
    if (options->plan_only)
        return REID_OK;
    p->value = reid_backend_alloc(p->backend, p->total * sizeof(float));
    p->grad = reid_backend_alloc(p->backend, p->total * sizeof(float));
    p->buffer_memory = reid_backend_alloc(p->backend, p->buffer_bytes);
    if (!p->value || !p->grad || !p->buffer_memory)
        return no_room(p, err);
    float *next = p->buffer_memory;
    for (size_t i = 0; i < p->buffer_count; i++) {
        p->buffers[i].data = next;
        next += buffer_floats(&p->buffers[i]);
        if (strstr(p->buffers[i].name, ".running_var"))
            fill(p->buffers[i].data, (size_t)p->buffers[i].shape[0], 1.0f, p->backend);
    }
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].kind == REID_PARAM_NORM_WEIGHT)
            fill(p->value + p->items[i].offset, (size_t)p->items[i].shape[0], 1.0f, p->backend);
    return REID_OK;
}

reid_status reid_params_new(const reid_graph *training_graph, reid_backend *backend,
                            const reid_params_options *options, reid_params **ret_params,
                            reid_error *err)
{
    static const reid_params_options defaults = {0};
    REID_TRY(reid_graph_check(training_graph, err));
    if (!options)
        options = &defaults;
    if (!reid_backend_supports(backend, options->compute))
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "backend '%s' cannot compute in %s on this machine",
                         reid_backend_name(backend), reid_dtype_name(options->compute));
    reid_params *p = reid_xcalloc(1, sizeof *p);
    p->backend = backend;
    reid_status status = collect(p, training_graph, options, err);
    if (status == REID_OK) {
        place(p, training_graph);
        status = allocate(p, options, err);
    }
    if (status != REID_OK) {
        reid_params_free(p);
        return status;
    }
    *ret_params = p;
    return REID_OK;
}

void reid_params_free(reid_params *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++)
        free(p->items[i].name);
    for (size_t i = 0; i < p->buffer_count; i++)
        free(p->buffers[i].name);
    reid_backend_release(p->backend, p->value, p->total * sizeof(float));
    reid_backend_release(p->backend, p->grad, p->total * sizeof(float));
    reid_backend_release(p->backend, p->buffer_memory, p->buffer_bytes);
    free(p->items);
    free(p->buffers);
    free(p);
}

size_t reid_params_find(const reid_params *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].name, name) == 0)
            return i;
    return REID_PARAM_NONE;
}

size_t reid_params_find_buffer(const reid_params *p, const char *name)
{
    for (size_t i = 0; i < p->buffer_count; i++)
        if (strcmp(p->buffers[i].name, name) == 0)
            return i;
    return REID_PARAM_NONE;
}

size_t reid_params_plain_count(const reid_params *p, size_t i)
{
    return reid_shape_count(&p->items[i].layout->shape);
}

void reid_params_to_plain(const reid_params *p, size_t i, const float *flat, float *ret_plain)
{
    REID_ASSERT(i < p->count);
    reid_backend_to_plain(p->backend, p->items[i].layout, flat + p->items[i].offset, ret_plain);
}

void reid_params_from_plain(const reid_params *p, size_t i, const float *plain, float *flat)
{
    REID_ASSERT(i < p->count);
    reid_backend_from_plain(p->backend, p->items[i].layout, plain, flat + p->items[i].offset);
}

static size_t buffer_count_of(const reid_param_buffer *buffer)
{
    return buffer->rank ? (size_t)buffer->shape[0] : 1;
}

void reid_params_buffer_get(const reid_params *p, size_t i, float *ret_plain)
{
    REID_ASSERT(i < p->buffer_count);
    reid_backend_copy_out(p->backend, ret_plain, p->buffers[i].data,
                          buffer_count_of(&p->buffers[i]) * sizeof(float));
}

void reid_params_buffer_set(reid_params *p, size_t i, const float *plain)
{
    REID_ASSERT(i < p->buffer_count);
    reid_backend_copy_in(p->backend, p->buffers[i].data, plain,
                         buffer_count_of(&p->buffers[i]) * sizeof(float));
}
