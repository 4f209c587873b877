#include "engine/upload.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "nn/plan_bytes.h"

struct reid_upload {
    reid_backend *backend;
    reid_plan *plan;
    reid_value images;
    void *space; /* on the device, for images that come as bytes */
    reid_image_choice *choices;
};

reid_upload *reid_upload_new(reid_backend *backend, reid_plan *plan, reid_value images)
{
    reid_upload *upload = reid_xcalloc(1, sizeof *upload);
    *upload = (reid_upload){.backend = backend, .plan = plan, .images = images};
    return upload;
}

void reid_upload_free(reid_upload *upload)
{
    if (!upload)
        return;
    if (upload->space)
        reid_backend_release(upload->backend, upload->space,
                             reid_plan_bytes_space(upload->plan, upload->images));
    free(upload->choices);
    free(upload);
}

bool reid_upload_wants_bytes(const reid_backend *backend)
{
    return reid_backend_takes_bytes(backend) && !reid_backend_is_host(backend);
}

static reid_image_rule rule_of(const reid_transform *transform)
{
    reid_image_rule rule = {
        .height = transform->height,
        .width = transform->width,
        .pad = transform->pad,
        .pad_mode = (reid_image_pad)transform->pad_mode,
    };
    for (int c = 0; c < REID_IMAGE_CHANNELS; c++) {
        rule.mean[c] = transform->mean[c];
        rule.inverse_std[c] = 1.0f / transform->std[c];
        rule.erase_value[c] = transform->erase_value[c];
    }
    return rule;
}

_Static_assert((int)REID_IMAGE_PAD_CONSTANT == (int)REID_PAD_CONSTANT &&
                   (int)REID_IMAGE_PAD_EDGE == (int)REID_PAD_EDGE &&
                   (int)REID_IMAGE_PAD_REFLECT == (int)REID_PAD_REFLECT &&
                   (int)REID_IMAGE_PAD_SYMMETRIC == (int)REID_PAD_SYMMETRIC,
               "the loader's and the backend's ways of padding");

static reid_status make_space(reid_upload *upload, int capacity, reid_error *err)
{
    size_t bytes = reid_plan_bytes_space(upload->plan, upload->images);
    if (!upload->choices)
        upload->choices = reid_xcalloc((size_t)capacity, sizeof *upload->choices);
    upload->space = reid_backend_alloc(upload->backend, bytes);
    if (upload->space)
        return REID_OK;
    REID_TRY(reid_backend_status(upload->backend, err));
    return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for a batch of images (%zu bytes)", bytes);
}

static reid_status upload_bytes(reid_upload *upload, const reid_loader *loader,
                                const reid_batch *batch, reid_error *err)
{
    if (!upload->space)
        REID_TRY(make_space(upload, batch->capacity, err));
    for (int i = 0; i < batch->capacity; i++) {
        const reid_transform_choice *c = &batch->choices[i];
        upload->choices[i] = (reid_image_choice){
            c->crop_y, c->crop_x, c->flip, c->erase_y, c->erase_x, c->erase_height, c->erase_width};
    }
    reid_image_rule rule = rule_of(reid_loader_transform(loader));
    return reid_plan_upload_bytes(upload->plan, upload->images, &rule, batch->planes,
                                  upload->choices, upload->space, err);
}

reid_status reid_upload_images(reid_upload *upload, const reid_loader *loader,
                               const reid_batch *batch, reid_error *err)
{
    const reid_transform *transform = reid_loader_transform(loader);
    size_t image_bytes = sizeof(float) * 3 * (size_t)transform->height * (size_t)transform->width;
    return batch->planes ? upload_bytes(upload, loader, batch, err)
                         : reid_plan_upload(upload->plan, upload->images, batch->images,
                                            (size_t)batch->capacity * image_bytes, err);
}
