#include "backend/backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/module.h"
#include "backend/op.h"
#include "base/alloc.h"
#include "base/str.h"

static const struct {
    const char *name;
    reid_backend_open_fn *open;
} table[] = {
    {"ref", reid_ref_backend_open},
    {"cpu", reid_cpu_backend_open},
};

static const char *const names[] = {"ref", "cpu", NULL};

const char *const *reid_backend_names(void)
{
    return names;
}

/* OMP_NUM_THREADS, else the cores this process may use. */
static int default_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    int64_t value = 0;
    if (text && reid_parse_int64(text, &value) == REID_OK && value > 0 && value <= 4096)
        return (int)value;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}

/* The device of "cuda" or "cuda:device"; NULL for another name. */
static const char *device_of(const char *name, const char *module)
{
    size_t length = strlen(module);
    if (strncmp(name, module, length) != 0)
        return NULL;
    return name[length] == ':' ? name + length + 1 : name[length] ? NULL : "";
}

static reid_status open_module(const char *name, const char *device, int threads,
                               reid_backend **ret_backend, reid_error *err)
{
    const reid_module *module = NULL;
    reid_backend *backend = NULL;
    REID_TRY(reid_module_load(name, &module, err));
    REID_TRY(module->open(device, threads, &backend, err));
    if (backend->impl->abi != REID_BACKEND_ABI)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "the module of backend '%s' has backend ABI %u, this program needs %u: "
                         "install the two from one build",
                         name, backend->impl->abi, REID_BACKEND_ABI);
    *ret_backend = backend;
    return REID_OK;
}

reid_status reid_backend_open(const char *name, int threads, reid_backend **ret_backend,
                              reid_error *err)
{
    if (threads < 0 || threads > 4096)
        return reid_fail(err, REID_ERR_INVALID, "backend '%s': %d threads is out of range", name,
                         threads);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].open(threads > 0 ? threads : default_threads(), ret_backend, err);
    const char *device = device_of(name, "cuda");
    if (device)
        return open_module("cuda", device, threads > 0 ? threads : default_threads(), ret_backend,
                           err);
    return reid_fail(err, REID_ERR_NOT_FOUND,
                     "there is no backend named '%s'; there are ref, cpu and cuda[:device]", name);
}

void reid_backend_free(reid_backend *backend)
{
    if (backend)
        backend->impl->free(backend);
}

const char *reid_backend_name(const reid_backend *backend)
{
    return backend->impl->name;
}

const char *reid_backend_version(const reid_backend *backend)
{
    return backend->impl->version(backend);
}

int reid_backend_threads(const reid_backend *backend)
{
    return backend->threads;
}

bool reid_backend_is_host(const reid_backend *backend)
{
    return backend->impl->host_memory;
}

bool reid_backend_supports(const reid_backend *backend, reid_dtype compute)
{
    return backend->impl->supports(backend, compute);
}

void *reid_backend_alloc(reid_backend *backend, size_t bytes)
{
    return backend->impl->alloc(backend, bytes);
}

void reid_backend_release(reid_backend *backend, void *memory, size_t bytes)
{
    if (memory)
        backend->impl->release(backend, memory, bytes);
}

void reid_backend_copy_in(reid_backend *backend, void *device, const void *host, size_t bytes)
{
    backend->impl->copy_in(backend, device, host, bytes);
}

void reid_backend_copy_out(reid_backend *backend, void *host, const void *device, size_t bytes)
{
    backend->impl->copy_out(backend, host, device, bytes);
}

void reid_backend_zero(reid_backend *backend, void *device, size_t bytes)
{
    backend->impl->zero(backend, device, bytes);
}

void reid_backend_wait(reid_backend *backend)
{
    if (backend->impl->wait)
        backend->impl->wait(backend);
}

reid_status reid_backend_status(reid_backend *backend, reid_error *err)
{
    return backend->impl->status ? backend->impl->status(backend, err) : REID_OK;
}

static void begin(reid_backend *backend)
{
    if (backend->impl->begin)
        backend->impl->begin(backend);
}

void reid_backend_from_plain(reid_backend *backend, const reid_layout *layout, const float *plain,
                             void *device)
{
    begin(backend);
    backend->impl->from_plain(backend, layout, plain, device);
}

void reid_backend_to_plain(reid_backend *backend, const reid_layout *layout, const void *device,
                           float *ret_plain)
{
    begin(backend);
    backend->impl->to_plain(backend, layout, device, ret_plain);
}

void reid_backend_adam(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
                       size_t range_count, float *value, const float *grad, float *m, float *v,
                       float *max_v)
{
    REID_ASSERT(args->step >= 1);
    begin(backend);
    if (range_count > 0)
        backend->impl->adam(backend, args, ranges, range_count, value, grad, m, v, max_v);
}

void reid_backend_sgd(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
                      size_t range_count, float *value, const float *grad, float *momentum_buffer)
{
    REID_ASSERT(momentum_buffer || args->momentum == 0.0);
    begin(backend);
    if (range_count > 0)
        backend->impl->sgd(backend, args, ranges, range_count, value, grad, momentum_buffer);
}

double reid_backend_sum_squares(reid_backend *backend, const reid_range *ranges, size_t range_count,
                                const float *data)
{
    begin(backend);
    return range_count > 0 ? backend->impl->sum_squares(backend, ranges, range_count, data) : 0.0;
}

double reid_backend_norm(reid_backend *backend, const reid_range *ranges, size_t range_count,
                         const float *data, double order)
{
    REID_ASSERT(order > 0);
    if (order == 2)
        return sqrt(reid_backend_sum_squares(backend, ranges, range_count, data));
    begin(backend);
    double sum =
        range_count > 0 ? backend->impl->power_sum(backend, ranges, range_count, data, order) : 0.0;
    return isinf(order) ? sum : pow(sum, 1 / order);
}

void reid_backend_clamp(reid_backend *backend, const reid_range *ranges, size_t range_count,
                        float *data, double limit)
{
    REID_ASSERT(limit >= 0);
    begin(backend);
    if (range_count > 0)
        backend->impl->clamp(backend, ranges, range_count, data, (float)limit);
}

void reid_backend_scale(reid_backend *backend, const reid_range *ranges, size_t range_count,
                        float *data, double factor)
{
    begin(backend);
    if (range_count > 0)
        backend->impl->scale(backend, ranges, range_count, data, (float)factor);
}

bool reid_backend_takes_bytes(const reid_backend *backend)
{
    return backend->impl->images != NULL;
}

void reid_backend_images(reid_backend *backend, const reid_image_rule *rule,
                         const reid_layout *layout, const uint8_t *planes,
                         const reid_image_choice *choices, void *images)
{
    const int64_t *d = layout->shape.dim;
    REID_ASSERT(layout->shape.rank == 4 && d[1] == REID_IMAGE_CHANNELS && d[2] == rule->height &&
                d[3] == rule->width);
    begin(backend);
    backend->impl->images(backend, rule, layout, planes, choices, images);
}
