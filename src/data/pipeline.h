/* Inside the data module: one image from its file to normalised pixels, with a cache of decoded and
 * resized images.
 *
 * The pipeline is shared by all workers; a worker has its own scratch. The cache holds u8 planes
 * for the first images of the list, as many as fit in the byte limit: which ones are cached never
 * depends on timing, and under random sampling any fixed part is as good as another. Filled once,
 * never dropped.
 */
#ifndef REID_DATA_PIPELINE_H
#define REID_DATA_PIPELINE_H

#include <stdatomic.h>

#include "data/dataset.h"
#include "data/image.h"
#include "data/resize.h"
#include "data/transform.h"

typedef struct reid_pipeline {
    reid_transform transform;
    size_t image_bytes;   /* of one image's u8 planes */
    size_t cached_count;  /* images below this index are cached */
    uint8_t *cache;       /* [cached_count, 3, H, W] */
    atomic_uchar *states; /* [cached_count]: empty, being written, ready */
} reid_pipeline;

typedef struct reid_pipeline_scratch {
    reid_image_decoder *decoder;
    reid_resizer *resizer;
    reid_image image;
    uint8_t *planes; /* one image that is not cached */
} reid_pipeline_scratch;

/* `count` images will be asked for by index; `cache_bytes` 0 switches the cache off. Memory for the
 * cache is touched as images come in; when it cannot be had, there is no cache. */
void reid_pipeline_init(reid_pipeline *pipeline, const reid_transform *transform, size_t count,
                        size_t cache_bytes);
void reid_pipeline_fini(reid_pipeline *pipeline);

void reid_pipeline_scratch_init(reid_pipeline_scratch *scratch, const reid_pipeline *pipeline);
void reid_pipeline_scratch_fini(reid_pipeline_scratch *scratch);

/* Image `index`, stored at `path`, into ret_image [3,H,W]. */
reid_status reid_pipeline_run(reid_pipeline *pipeline, reid_pipeline_scratch *scratch, size_t index,
                              const char *path, const reid_transform_choice *choice,
                              float *ret_image, reid_error *err);
/* The same before augmentation: u8 planes [3,H,W]. */
reid_status reid_pipeline_fetch(reid_pipeline *pipeline, reid_pipeline_scratch *scratch,
                                size_t index, const char *path, uint8_t *ret_planes,
                                reid_error *err);

#endif
