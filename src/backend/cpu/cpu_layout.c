/* Layouts and their conversion from and to plain f32. */
#include <stdio.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/cpu_kernels.h"

cpu_grid cpu_grid_of(const cpu_backend *backend, const reid_layout *layout)
{
    const int64_t *d = layout->shape.dim;
    cpu_grid g = {.n = d[0], .c = d[1], .h = d[2], .w = d[3], .lanes = backend->block};
    g.blocks = (g.c + g.lanes - 1) / g.lanes;
    g.pixels = g.h * g.w;
    g.planes = g.n * g.blocks;
    g.plane = g.pixels * g.lanes;
    return g;
}

const cpu_kernels *cpu_kernels_for(const cpu_backend *backend, const reid_layout *layout)
{
    if (layout->dtype == REID_BF16)
        return &cpu_kernels_bf16x16;
    if (backend->block == 16)
        return &cpu_kernels_f32x16;
    return backend->avx2 ? &cpu_kernels_f32x8 : &cpu_kernels_f32x8_base;
}

const reid_layout *cpu_plain_layout(cpu_backend *backend, const reid_shape *shape, reid_dtype dtype)
{
    cpu_layout proto;
    memset(&proto, 0, sizeof proto);
    proto.base.shape = *shape;
    proto.base.dtype = dtype;
    proto.base.bytes = reid_shape_count(shape) * reid_dtype_size(dtype);
    proto.kind = CPU_PLAIN;
    snprintf(proto.base.text, sizeof proto.base.text, "%s", shape->rank == 4 ? "nchw" : "plain");
    return reid_layout_intern(&backend->base, &proto.base, sizeof proto);
}

const reid_layout *cpu_activation_layout(reid_backend *base, reid_role role,
                                         const reid_shape *shape, reid_dtype dtype)
{
    cpu_backend *backend = (cpu_backend *)base;
    /* Stem kernels read up to three channels from plain images. */
    if (shape->rank != 4 || (role == REID_ROLE_IMAGES && shape->dim[1] <= 3))
        return cpu_plain_layout(backend, shape, dtype);
    cpu_layout proto;
    memset(&proto, 0, sizeof proto);
    proto.base.shape = *shape;
    proto.base.dtype = dtype;
    cpu_grid g = cpu_grid_of(backend, &proto.base);
    proto.base.bytes = (size_t)(g.planes * g.plane) * reid_dtype_size(dtype);
    proto.kind = CPU_BLOCKED;
    snprintf(proto.base.text, sizeof proto.base.text, "nChw%dc %s", g.lanes,
             reid_dtype_name(dtype));
    return reid_layout_intern(base, &proto.base, sizeof proto);
}

static void put(const reid_layout *layout, void *device, int64_t i, float value)
{
    if (layout->dtype == REID_BF16)
        ((uint16_t *)device)[i] = reid_f32_to_bf16(value);
    else
        ((float *)device)[i] = value;
}

static float get(const reid_layout *layout, const void *device, int64_t i)
{
    return layout->dtype == REID_BF16 ? reid_bf16_to_f32(((const uint16_t *)device)[i])
                                      : ((const float *)device)[i];
}

static void blocked_from_plain(cpu_backend *backend, const reid_layout *layout, const float *plain,
                               void *device)
{
    cpu_grid g = cpu_grid_of(backend, layout);
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < g.planes; p++)
        for (int64_t i = 0; i < g.pixels; i++)
            for (int lane = 0; lane < g.lanes; lane++) {
                int64_t c = p % g.blocks * g.lanes + lane;
                put(layout, device, p * g.plane + i * g.lanes + lane,
                    c < g.c ? plain[(p / g.blocks * g.c + c) * g.pixels + i] : 0.0f);
            }
}

static void blocked_to_plain(cpu_backend *backend, const reid_layout *layout, const void *device,
                             float *plain)
{
    cpu_grid g = cpu_grid_of(backend, layout);
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < g.planes; p++)
        for (int lane = 0; lane < g.lanes; lane++) {
            int64_t c = p % g.blocks * g.lanes + lane;
            for (int64_t i = 0; c < g.c && i < g.pixels; i++)
                plain[(p / g.blocks * g.c + c) * g.pixels + i] =
                    get(layout, device, p * g.plane + i * g.lanes + lane);
        }
}

/* Weights go through oneDNN, which knows its blocked formats. */
static reid_status weight_reorder(cpu_backend *backend, const cpu_layout *layout, void *device,
                                  float *plain, bool out, reid_error *err)
{
    dnnl_memory_desc_t plain_md;
    dnnl_dims_t dims;
    memcpy(dims, layout->md.dims, sizeof dims);
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&plain_md, 4, dims, dnnl_f32, dnnl_abcd));
    const dnnl_memory_desc_t *from = out ? &layout->md : &plain_md,
                             *to = out ? &plain_md : &layout->md;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t source = NULL, target = NULL;
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&pd, from, backend->engine, to, backend->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&primitive, pd);
    if (status == dnnl_success)
        status = dnnl_memory_create(&source, from, backend->engine, out ? device : (void *)plain);
    if (status == dnnl_success)
        status = dnnl_memory_create(&target, to, backend->engine, out ? (void *)plain : device);
    if (status == dnnl_success) {
        dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, target}};
        status = dnnl_primitive_execute(primitive, backend->stream, 2, args);
    }
    if (status == dnnl_success)
        status = dnnl_stream_wait(backend->stream);
    dnnl_memory_destroy(target);
    dnnl_memory_destroy(source);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(pd);
    return status == dnnl_success ? REID_OK : cpu_dnnl_fail(status, "reorder of a weight", err);
}

void cpu_from_plain(reid_backend *base, const reid_layout *layout, const float *plain, void *device)
{
    cpu_backend *backend = (cpu_backend *)base;
    const cpu_layout *own = cpu_layout_of(layout);
    if (own->kind == CPU_BLOCKED) {
        blocked_from_plain(backend, layout, plain, device);
    } else if (own->kind == CPU_WEIGHT) {
        memset(device, 0, layout->bytes);
        REID_ASSERT(weight_reorder(backend, own, device, (float *)plain, false, NULL) == REID_OK);
    } else if (layout->dtype == REID_BF16) {
        for (int64_t i = 0; i < (int64_t)reid_shape_count(&layout->shape); i++)
            put(layout, device, i, plain[i]);
    } else {
        memcpy(device, plain, layout->bytes);
    }
}

void cpu_to_plain(reid_backend *base, const reid_layout *layout, const void *device,
                  float *ret_plain)
{
    cpu_backend *backend = (cpu_backend *)base;
    const cpu_layout *own = cpu_layout_of(layout);
    if (own->kind == CPU_BLOCKED) {
        blocked_to_plain(backend, layout, device, ret_plain);
    } else if (own->kind == CPU_WEIGHT) {
        REID_ASSERT(weight_reorder(backend, own, (void *)device, ret_plain, true, NULL) == REID_OK);
    } else if (layout->dtype == REID_BF16) {
        for (int64_t i = 0; i < (int64_t)reid_shape_count(&layout->shape); i++)
            ret_plain[i] = get(layout, device, i);
    } else {
        memcpy(ret_plain, device, layout->bytes);
    }
}
