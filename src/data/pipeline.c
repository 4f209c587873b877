#include "data/pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"

enum { CACHE_EMPTY, CACHE_WRITING, CACHE_READY };

void reid_pipeline_init(reid_pipeline *pipeline, const reid_transform *transform, size_t count,
                        size_t cache_bytes)
{
    *pipeline = (reid_pipeline){.transform = *transform};
    pipeline->image_bytes = (size_t)transform->height * (size_t)transform->width * 3;
    size_t cached = REID_MIN(count, cache_bytes / pipeline->image_bytes);
    if (cached == 0)
        return;
    pipeline->cache = reid_alloc_aligned(cached * pipeline->image_bytes);
    pipeline->states = reid_alloc(cached, sizeof *pipeline->states);
    pipeline->cached_count = cached;
    if (!pipeline->cache || !pipeline->states) {
        reid_log_warn("data no memory for a cache of decoded images bytes=%zu",
                      cached * pipeline->image_bytes);
        reid_pipeline_fini(pipeline);
    }
}

void reid_pipeline_fini(reid_pipeline *pipeline)
{
    reid_free_aligned(pipeline->cache, pipeline->cached_count * pipeline->image_bytes);
    free(pipeline->states);
    pipeline->cache = NULL;
    pipeline->states = NULL;
    pipeline->cached_count = 0;
}

void reid_pipeline_scratch_init(reid_pipeline_scratch *scratch, const reid_pipeline *pipeline)
{
    *scratch = (reid_pipeline_scratch){
        .decoder = reid_image_decoder_new(),
        .resizer = reid_resizer_new(),
        .planes = reid_xmalloc(pipeline->image_bytes),
    };
}

void reid_pipeline_scratch_fini(reid_pipeline_scratch *scratch)
{
    reid_image_decoder_free(scratch->decoder);
    reid_resizer_free(scratch->resizer);
    reid_image_fini(&scratch->image);
    free(scratch->planes);
    *scratch = (reid_pipeline_scratch){0};
}

static reid_status load(const reid_pipeline *pipeline, reid_pipeline_scratch *scratch,
                        const char *path, uint8_t *ret_planes, reid_error *err)
{
    REID_TRY(reid_image_read(scratch->decoder, path, &scratch->image, err));
    return reid_resize_bicubic(scratch->resizer, &scratch->image, pipeline->transform.width,
                               pipeline->transform.height, ret_planes, err);
}

/* The planes are in the cache or in the scratch. */
static reid_status find_planes(reid_pipeline *pipeline, reid_pipeline_scratch *scratch,
                               size_t index, const char *path, const uint8_t **ret_planes,
                               reid_error *err)
{
    uint8_t *planes = scratch->planes;
    atomic_uchar *state = index < pipeline->cached_count ? &pipeline->states[index] : NULL;
    unsigned char empty = CACHE_EMPTY;
    if (state && atomic_load_explicit(state, memory_order_acquire) == CACHE_READY) {
        planes = pipeline->cache + index * pipeline->image_bytes;
    } else if (state && atomic_compare_exchange_strong(state, &empty, CACHE_WRITING)) {
        planes = pipeline->cache + index * pipeline->image_bytes;
        reid_status status = load(pipeline, scratch, path, planes, err);
        atomic_store_explicit(state, status == REID_OK ? CACHE_READY : CACHE_EMPTY,
                              memory_order_release);
        REID_TRY(status);
    } else { /* not cached, or another worker is writing it at this moment */
        REID_TRY(load(pipeline, scratch, path, planes, err));
    }
    *ret_planes = planes;
    return REID_OK;
}

reid_status reid_pipeline_run(reid_pipeline *pipeline, reid_pipeline_scratch *scratch, size_t index,
                              const char *path, const reid_transform_choice *choice,
                              float *ret_image, reid_error *err)
{
    const uint8_t *planes = NULL;
    REID_TRY(find_planes(pipeline, scratch, index, path, &planes, err));
    reid_transform_apply(&pipeline->transform, choice, planes, ret_image);
    return REID_OK;
}

reid_status reid_pipeline_fetch(reid_pipeline *pipeline, reid_pipeline_scratch *scratch,
                                size_t index, const char *path, uint8_t *ret_planes,
                                reid_error *err)
{
    const uint8_t *planes = NULL;
    REID_TRY(find_planes(pipeline, scratch, index, path, &planes, err));
    memcpy(ret_planes, planes, pipeline->image_bytes);
    return REID_OK;
}
